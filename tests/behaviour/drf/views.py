"""Views and authentication of an API that uses the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page
from rest_framework import exceptions as drf
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup import AccessDenied, ConfigServiceUnavailable, InstanceNotFound
from instance_lookup.permissions import (
    HasInstanceFeature,
    IsInstanceAdmin,
    IsInstanceOwner,
    IsInstanceOwnerOrAdmin,
)

if TYPE_CHECKING:
    from django.http import HttpResponse


class NameToken(TokenAuthentication):
    """An authentication whose token is the name of a user."""

    def authenticate_credentials(self, key: str) -> tuple[Any, str]:
        try:
            return get_user_model().objects.get_by_natural_key(key), key
        except get_user_model().DoesNotExist as exc:
            raise drf.AuthenticationFailed from exc


class Api(APIView):
    """Tells the instance and its bucket."""

    authentication_classes: Any = (NameToken, SessionAuthentication)
    permission_classes: Any = (IsInstanceOwnerOrAdmin,)
    renderer_classes = (JSONRenderer, BrowsableAPIRenderer)

    def get(self, request: Any) -> Response:
        return Response({"instance": request.instance_config.instance_id})


class SessionFirst(Api):
    authentication_classes = (SessionAuthentication, NameToken)


class Cached(Api):
    """Stores its page before the middleware sees the response."""

    @method_decorator(cache_page(60))
    def get(self, request: Any) -> Response:
        return super().get(request)


class Open(Api):
    """Does without permissions: the view touches the config itself."""

    permission_classes = ()


class Owners(Api):
    permission_classes = (IsInstanceOwner,)


class Admins(Api):
    permission_classes = (IsInstanceAdmin,)


class Beta(Api):
    permission_classes = (HasInstanceFeature("beta"),)


class OwnersOfBeta(Api):
    permission_classes = (IsInstanceOwner & HasInstanceFeature("beta"),)


class RefusesByItself(Api):
    """Handles the lookup's error, and refuses for a reason of its own."""

    permission_classes = ()

    def get(self, request: Any) -> Response:
        try:
            str(request.instance_config.instance_id)
        except (ConfigServiceUnavailable, InstanceNotFound, AccessDenied):
            raise drf.PermissionDenied("not on Sundays") from None
        raise drf.PermissionDenied("not on Mondays")


class touches_early:  # noqa: N801  # a middleware in the manner of Django's function factories
    """Use the instance before the view, and tell of it in a header."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        try:
            early = request.instance_config.instance_id
        except AccessDenied:
            early = "denied"
        response: HttpResponse = self.get_response(request)
        response.headers["X-Early"] = early
        return response
