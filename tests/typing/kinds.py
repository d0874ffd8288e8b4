"""Each kind of view, and the types that its request has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views import View
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from instance_lookup import InstanceConfig, LookupResult, RateLimit, Source, current_instance
from instance_lookup.access import IsOwner
from instance_lookup.decorators import InstanceRequiredMixin, instance_required
from instance_lookup.permissions import InstanceAPIRequest
from instance_lookup.request import InstanceRequest


@login_required
@instance_required(policy=IsOwner())
def plain(request: InstanceRequest) -> HttpResponse:
    config = assert_type(request.instance_config, InstanceConfig)
    assert_type(config.rate_limits["render"], RateLimit)
    assert_type(config.has_feature("beta"), bool)
    result = assert_type(request.instance_lookup, LookupResult)
    assert_type(result.source, Source)
    return render(request, "billing.html", {"config": config})


@require_GET
@instance_required
async def asynchronous(request: InstanceRequest) -> HttpResponse:
    assert_type(await request.ainstance_config(), InstanceConfig)
    assert_type(await request.ainstance_lookup(), LookupResult)
    return HttpResponse()


class OfAClass(InstanceRequiredMixin, View):
    request: InstanceRequest
    instance_policy = IsOwner()

    def get(self, request: InstanceRequest, page: int) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id * page)

    async def post(self, request: InstanceRequest) -> HttpResponse:
        return HttpResponse((await self.request.ainstance_config()).r2_bucket)


class OfATemplate(InstanceRequiredMixin, TemplateView):
    request: InstanceRequest
    template_name = "billing.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(name=self.request.instance_config.metadata.name, **kwargs)


@api_view(["GET"])
def of_drf(request: Request) -> Response:
    return Response({"got": request.data, "bucket": current_instance().r2_bucket})


class OfDRF(APIView):
    def post(self, request: InstanceAPIRequest, page: int) -> Response:
        assert_type(request.instance_lookup, LookupResult)
        assert_type(request.instance_config, InstanceConfig)
        return Response(request.data)


class OfAViewSet(ViewSet):
    request: InstanceAPIRequest

    def list(self, request: InstanceAPIRequest) -> Response:
        takes_either(request)
        takes_drf(request)
        return Response(self.request.instance_config.r2_bucket)


urlpatterns = [
    path("plain/", plain),
    path("async/", asynchronous),
    path("class/<int:page>/", OfAClass.as_view()),
    path("template/", OfATemplate.as_view()),
    path("drf/", of_drf),
    path("drf/<int:page>/", OfDRF.as_view()),
    path("viewset/", OfAViewSet.as_view({"get": "list"})),
]


def takes_either(request: InstanceRequest) -> str:
    """A helper of the site, for views of Django and of DRF."""
    return request.instance_config.instance_id


def takes_drf(request: Request) -> object:
    return request.auth


class StudioConfig(InstanceConfig, frozen=True, kw_only=True):
    region: str = "eu"


class StudioRequest(InstanceRequest):
    """Of a site whose ``CONFIG_CLASS`` is the class above."""

    instance_config: StudioConfig

    if TYPE_CHECKING:

        async def ainstance_config(self) -> StudioConfig: ...


async def of_a_config_class(request: StudioRequest) -> HttpResponse:
    assert_type((await request.ainstance_config()).region, str)
    return HttpResponse(request.instance_config.region + takes_either(request))


# --- what is wrong is found -----------------------------------------------------------------------


async def wrong(request: InstanceRequest, of_django: HttpRequest) -> object:
    takes_either(of_django)  # type: ignore[arg-type]
    request.instance_config.api_keys["render"] = ""  # type: ignore[index]
    return [
        of_django.instance_config,  # type: ignore[attr-defined]
        request.instance_configuration,  # type: ignore[attr-defined]
        request.instance_config.region,  # type: ignore[attr-defined]
        request.ainstance_config().r2_bucket,  # type: ignore[attr-defined]
        await request.instance_lookup,  # type: ignore[misc]
    ]


@api_view(["GET"])  # type: ignore[arg-type]  # its stubs take DRF's own request only
def wrong_below_api_view(request: InstanceAPIRequest) -> Response:
    return Response(request.instance_config.r2_bucket)
