"""The same site through DRF's door, with DRF's answers to errors and with ours."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup import LookupContext, resolve_instance
from instance_lookup.permissions import IsInstanceOwner, exception_handler
from tests.properties.site import NOBODY, Acting, routes


class AsActing(BaseAuthentication):
    """Logs the user in whom the request is made for, if it is one."""

    def authenticate(self, request: Any) -> tuple[Any, None] | None:
        return None if Acting.user is NOBODY else (Acting.user, None)


class Where(APIView):
    authentication_classes = (AsActing,)
    permission_classes: Any = (IsInstanceOwner,)

    def post(self, request: Any, **_: str) -> Response:
        return Response(request.instance_config.instance_id)


class Touches(Where):
    """Leaves it to the lookup to refuse."""

    permission_classes = ()


class Given(Touches):
    def post(self, request: Any, **_: str) -> Response:
        context = LookupContext.from_request(request, instance_id=request.data)
        return Response(resolve_instance(context).instance_id)


class _Ours(APIView):
    def get_exception_handler(self) -> Any:
        return exception_handler


class OurWhere(_Ours, Where):
    pass


class OurTouches(_Ours, Touches):
    pass


class OurGiven(_Ours, Given):
    pass


urlpatterns = [
    *routes("permission", Where.as_view(), Given.as_view()),
    *routes("touch", Touches.as_view(), Given.as_view()),
    *routes("our-permission", OurWhere.as_view(), OurGiven.as_view()),
    *routes("our-touch", OurTouches.as_view(), OurGiven.as_view()),
]
DOORS = ("permission", "touch", "our-permission", "our-touch")
