"""Views of DRF whose instances have limits."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from instance_lookup import ConfigServiceUnavailable
from instance_lookup.permissions import IsInstanceOwnerOrAdmin
from instance_lookup.throttling import InstanceRateThrottle, instance_throttled
from tests.behaviour.drf.views import NameToken


class RenderThrottle(InstanceRateThrottle):
    scope = "render"


class Never(BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return False

    def wait(self) -> float:
        return 7.0


class Scoped(APIView):
    """Names the limit as ``ScopedRateThrottle`` has it."""

    authentication_classes: Any = (NameToken,)
    permission_classes: Any = (IsInstanceOwnerOrAdmin,)
    throttle_classes: Any = (InstanceRateThrottle,)
    throttle_scope = "render"

    def get(self, request: Any) -> Response:
        return Response({"instance": request.instance_config.instance_id})


class Named(Scoped):
    throttle_classes = (RenderThrottle,)
    throttle_scope = ""


class Open(Scoped):
    """Has no permissions: the throttle is the first to look the instance up."""

    permission_classes = ()


class Unlimited(Scoped):
    throttle_scope = None  # type: ignore[assignment]  # as of a view that names none


class AlsoRefused(Scoped):
    throttle_classes = (RenderThrottle, Never)


class UploadThrottle(InstanceRateThrottle):
    scope = "upload"


class Both(Scoped):
    throttle_classes = (RenderThrottle, UploadThrottle)


class RefusedByAnother(Scoped):
    throttle_classes = (Never,)


class Broken(Scoped):
    def get(self, request: Any) -> Response:
        raise ConfigServiceUnavailable("no worker", retry_after=3)


class Method(Scoped):
    throttle_classes = ()

    @method_decorator(instance_throttled("render"))
    def get(self, request: Any) -> Response:
        return super().get(request)


@method_decorator(instance_throttled("render"), name="dispatch")
class Dispatched(Scoped):
    throttle_classes = ()


@api_view(["GET"])
@permission_classes([BasePermission])
@instance_throttled("render")
def function(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


VIEWS = {
    "scoped": Scoped,
    "named": Named,
    "open": Open,
    "unlimited": Unlimited,
    "also_refused": AlsoRefused,
    "both_api": Both,
    "refused_by_another": RefusedByAnother,
    "broken": Broken,
    "method": Method,
    "dispatched_api": Dispatched,
}
urlpatterns = [path(name, view.as_view()) for name, view in VIEWS.items()]
urlpatterns.append(path("function", function))
