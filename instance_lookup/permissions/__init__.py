"""Permission classes and the exception handler for Django REST framework (extra ``drf``)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.http import Http404
from msgspec.structs import replace
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from instance_lookup.access import Allows, HasFeature, IsAdmin, IsOwner, owner_or_admin, same_id
from instance_lookup.conf import get_settings
from instance_lookup.exceptions import AccessDenied, CacheError, InstanceLookupError
from instance_lookup.permissions.composition import LogsRefusals
from instance_lookup.request.attributes import lookup_for
from instance_lookup.request.drf import django_part
from instance_lookup.request.problems import PROBLEM_JSON, problem, problem_headers, quiet

if TYPE_CHECKING:
    from rest_framework.views import APIView

    from instance_lookup.request import InstanceRequest
    from instance_lookup.types import InstanceConfig

    class InstanceAPIRequest(Request, InstanceRequest):
        """DRF's request with what the middleware adds, to annotate handlers of DRF views with."""

else:
    InstanceAPIRequest = Request  # DRF's own class gets the attributes


class InstancePermission(LogsRefusals):
    """Base: the caller may have the request's instance, and ``policy`` allows it as well.

    A refusal is *returned*, not raised, so that DRF can answer 401 to those who may still log in.
    Other errors of the lookup (400, 404, 429, 503) are raised. Schemas, OPTIONS and the browsable
    API only ask what would be permitted; for them an error is a refusal.
    """

    policy: ClassVar[Allows]
    object_policy: ClassVar[Allows]
    """For objects with an owner but no instance. It sees their owner as the instance's."""
    message = "You may not use this instance."
    code = "access_denied"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Look the request's instance up, and ask the policy."""
        self.refused = None
        config = self._config(request, view)
        if config is None:
            return False
        lookup = lookup_for(request)
        allowed = lookup.allows(self.policy, config)
        if not allowed and not _is_only_asked(request, view):
            self.note(request, config, partial(lookup.rule, self.policy, config))
        return allowed

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        """Allow objects of this very instance, else ones that the caller owns; no others.

        ``obj`` says so itself, by ``instance_id`` or ``owner``; one that has neither is refused.
        ``request`` names the instance, ``view`` handles it. Raises ``Http404`` instead where
        ``CONCEAL_DENIED`` is on, as if there were no such object.
        """
        if self.has_permission(request, view):
            if self._allows_object(request, obj):
                return True
            if not _is_only_asked(request, view):
                self.note(request, lookup_for(request).get().config, partial(_foreign, obj))
        if get_settings().conceal_denied and not _is_only_asked(request, view):
            raise Http404(*_missing(obj))
        return False

    def _config(self, request: Request, view: APIView) -> InstanceConfig | None:
        try:
            return lookup_for(request).get().config
        except AccessDenied:
            # Whatever a subclass has to say about a refusal of its own, this is not it.
            self.message, self.code = InstancePermission.message, InstancePermission.code
            return None
        except InstanceLookupError:
            if not _is_only_asked(request, view):
                raise
            return None

    def _allows_object(self, request: Request, obj: Any) -> bool:
        lookup = lookup_for(request)
        config = lookup.get().config
        instance_id = getattr(obj, "instance_id", None)
        if instance_id is not None:
            return same_id(config.instance_id, str(instance_id))
        owner = getattr(obj, "owner", None)
        owner_id = getattr(owner, "pk", owner)
        if owner_id is None:
            return False
        metadata = replace(config.metadata, owner=str(owner_id))
        return lookup.allows(self.object_policy, replace(config, metadata=metadata))


class IsInstanceOwner(InstancePermission):
    """The owner of the instance."""

    policy = object_policy = IsOwner()


class IsInstanceAdmin(InstancePermission):
    """Admins, also of instances that others own."""

    policy = object_policy = IsAdmin()


class IsInstanceOwnerOrAdmin(InstancePermission):
    """The owner of the instance, and admins. One class: DRF's ``A | B`` loses message and code."""

    policy = object_policy = owner_or_admin


def HasInstanceFeature(  # noqa: N802  # it stands for a class
    feature: str, *, enabled: bool = True
) -> type[InstancePermission]:
    """Return the permission class for instances that have ``feature`` on, or not ``enabled``."""
    has = "does not have" if enabled else "has"
    return type(
        f"HasInstanceFeature_{feature}",
        (InstancePermission,),
        {
            "__doc__": f"Instances whose feature {feature!r} is {'on' if enabled else 'off'}.",
            "__module__": __name__,
            "policy": HasFeature(feature) if enabled else ~HasFeature(feature),
            "object_policy": owner_or_admin,
            "message": f"This instance {has} the feature {feature!r}.",
            "code": "feature_missing" if enabled else "feature_present",
        },
    )


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer failed lookups with problem details; name it in DRF's ``EXCEPTION_HANDLER``.

    Everything else is left to DRF's own handler, a 401 included.
    """
    # Not above: DRF imports this module while it imports its views, where
    # DEFAULT_PERMISSION_CLASSES names one of these classes.
    from rest_framework.views import exception_handler as default_handler  # noqa: PLC0415
    from rest_framework.views import set_rollback  # noqa: PLC0415

    request = context["request"]
    error = _refusal(request, exc) or exc
    if not isinstance(error, InstanceLookupError) or isinstance(error, CacheError):
        return default_handler(exc, context)
    set_rollback()
    response = Response(
        problem(request, error), status=error.status_code, headers=problem_headers(error)
    )
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is not None and renderer.media_type == "application/json":
        response.content_type = PROBLEM_JSON
    return quiet(response, error)


def _is_only_asked(request: Request, view: APIView) -> bool:
    """Tell whether a schema, OPTIONS or a form asks. An error would break its page.

    The browsable API draws its forms when the view has answered. It, OPTIONS and DRF's schemas ask
    with a clone of the request: a wrapper with a method of its own. Other makers of schemas mark
    their views.
    """
    return (
        hasattr(view, "response")
        or (django_part(request) is not request and "method" in vars(request))
        or getattr(view, "swagger_fake_view", False)
    )


def _refusal(request: Any, exc: Exception) -> Exception | None:
    """Return our error if DRF made ``exc`` from it: of a permission, or of a throttle.

    A refusal of the view's own, or of another permission, has another code.
    """
    if isinstance(exc, drf.Throttled):
        return lookup_for(django_part(request)).state.exceeded
    if not isinstance(exc, drf.PermissionDenied) or exc.get_codes() != InstancePermission.code:
        return None
    # Of Django's request: to authenticate may fail, and an error here would be a 500.
    error = lookup_for(django_part(request)).error
    return error if isinstance(error, AccessDenied) else None


def _foreign(obj: Any) -> str:
    """Return why an object is refused to a user who may have the instance: for the log."""
    owner = getattr(obj, "owner", None)
    instance_id, owner_id = getattr(obj, "instance_id", None), getattr(owner, "pk", owner)
    return f"{type(obj).__name__} of instance {instance_id!r}, owner {owner_id!r}, is not theirs"


def _missing(obj: Any) -> tuple[str, ...]:
    """Return what ``get_object_or_404`` says of an object that does not exist."""
    meta = getattr(obj, "_meta", None)
    return () if meta is None else (f"No {meta.object_name} matches the given query.",)
