"""Permission classes and the exception handler for Django REST framework (extra ``drf``)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404
from msgspec.structs import replace
from rest_framework import exceptions as drf
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback
from rest_framework.views import exception_handler as default_handler

from instance_lookup.access import Allows, HasFeature, IsAdmin, IsOwner, owner_or_admin, same_id
from instance_lookup.conf import get_settings
from instance_lookup.exceptions import AccessDenied, CacheError, InstanceLookupError
from instance_lookup.lookup import RequestLookup, lookup_for
from instance_lookup.responses import PROBLEM_JSON, problem, problem_headers
from instance_lookup.types import InstanceConfig


class InstancePermission(BasePermission):
    """Base: the caller may have the request's instance, and ``policy`` allows it as well.

    A refusal is *returned*, not raised, so that DRF can answer 401 to those who may still log in.
    The lookup's other errors pass through: 400, 404 and 503.
    """

    policy: ClassVar[Allows]
    object_policy: ClassVar[Allows]
    """Asked about objects that have an owner but no instance, with that owner as the instance's."""
    message = "You may not use this instance."
    code = "access_denied"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Look the request's instance up, and ask the policy."""
        try:
            lookup, config = _asked(request)
        except AccessDenied:
            return False
        return lookup.allows(self.policy, config)

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        """Allow objects of this very instance, else ones that the caller owns; no others.

        An object says so itself, by ``instance_id`` or ``owner``; one that has neither is refused.
        Raises ``Http404`` instead where ``CONCEAL_DENIED`` is on.
        """
        lookup, config = _asked(request)
        if lookup.allows(self.policy, config) and self._allows_object(lookup, config, obj):
            return True
        if get_settings().conceal_denied:
            raise Http404
        return False

    def _allows_object(self, lookup: RequestLookup, config: InstanceConfig, obj: Any) -> bool:
        instance_id = getattr(obj, "instance_id", None)
        if instance_id is not None:
            return same_id(config.instance_id, str(instance_id))
        owner = getattr(obj, "owner", None)
        if owner is None:
            return False
        metadata = replace(config.metadata, owner=str(getattr(owner, "pk", owner)))
        return lookup.allows(self.object_policy, replace(config, metadata=metadata))


class IsInstanceOwner(InstancePermission):
    """The owner of the instance."""

    policy = object_policy = IsOwner()


class IsInstanceAdmin(InstancePermission):
    """Admins, whoever owns the instance."""

    policy = object_policy = IsAdmin()


class IsInstanceOwnerOrAdmin(InstancePermission):
    """The owner of the instance, and admins. One class: DRF's ``A | B`` loses message and code."""

    policy = object_policy = owner_or_admin


def HasInstanceFeature(feature: str) -> type[InstancePermission]:  # noqa: N802  # it stands for a class
    """Return the permission class for instances that have ``feature`` switched on."""
    return type(
        f"HasInstanceFeature_{feature}",
        (InstancePermission,),
        {
            "__doc__": f"Instances with the feature {feature!r}.",
            "__module__": __name__,
            "policy": HasFeature(feature),
            "object_policy": owner_or_admin,
            "message": f"This instance does not have the feature {feature!r}.",
            "code": "feature_missing",
        },
    )


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer failed lookups with problem details; name it in DRF's ``EXCEPTION_HANDLER``.

    Everything else is left to DRF's own handler, a 401 included.
    """
    request = context["request"]
    error: Exception | None = exc
    if isinstance(exc, drf.PermissionDenied):  # what DRF made of a permission's False
        error = lookup_for(request).error
    if not isinstance(error, InstanceLookupError) or isinstance(error, CacheError):
        return default_handler(exc, context)
    set_rollback()
    response = Response(
        problem(request, error), status=error.status_code, headers=problem_headers(error)
    )
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is not None and renderer.media_type == "application/json":
        response.content_type = PROBLEM_JSON
    return response


def _asked(request: Request) -> tuple[RequestLookup, InstanceConfig]:
    request.user  # noqa: B018  # authenticates, where no view has done so yet
    lookup = lookup_for(request)
    return lookup, lookup.get().config
