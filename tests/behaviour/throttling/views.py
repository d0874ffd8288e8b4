"""Views of a site whose instances have limits. Each tells the instance that it runs for."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from instance_lookup.access import IsAdmin
from instance_lookup.decorators import InstanceRequiredMixin, instance_required
from instance_lookup.throttling import instance_throttled
from tests.support import urls


@instance_throttled("render")
def render(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


@instance_throttled("render")
async def arender(request: Any) -> HttpResponse:
    return HttpResponse((await request.ainstance_config()).instance_id)


@instance_throttled("render")
@instance_throttled("upload")
def both(request: Any) -> HttpResponse:
    return HttpResponse("both")


@instance_throttled("render")
def missing(request: Any) -> HttpResponse:
    raise Http404("no such page")


@instance_throttled("render")
def stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(["a", "b"]))


@instance_required(policy=IsAdmin())
@instance_throttled("render")
def admins(request: Any) -> HttpResponse:
    return HttpResponse("admins")


@instance_throttled("render")
@instance_required(policy=IsAdmin())
def counted_first(request: Any) -> HttpResponse:
    return HttpResponse("admins")


@method_decorator(instance_throttled("render"), name="dispatch")
class Dispatched(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id)


@method_decorator([instance_required, instance_throttled("render")], name="dispatch")
class ADispatched(View):
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id)


class OneMethod(InstanceRequiredMixin, View):
    @method_decorator(instance_throttled("render"))
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id)

    def post(self, request: Any) -> HttpResponse:
        return HttpResponse("posted")


urlpatterns = [
    *urls.urlpatterns,
    path("render", render),
    path("arender", arender),
    path("both", both),
    path("missing", missing),
    path("stream_throttled", stream),
    path("admins", admins),
    path("counted_first", counted_first),
    path("dispatched", Dispatched.as_view()),
    path("adispatched", ADispatched.as_view()),
    path("one_method", OneMethod.as_view()),
]
