"""Views that need an instance: the lookup is made, and its errors answered, before they run."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.http.response import HttpResponseBase

from instance_lookup.concurrency.deferred import call_when_loaded
from instance_lookup.exceptions import AccessDenied, InstanceLookupError
from instance_lookup.request.attributes import lookup_for
from instance_lookup.request.drf import check_after_permissions, django_part, is_drf_view, view_of
from instance_lookup.request.problems import error_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from instance_lookup.access import Allows
    from instance_lookup.request.lookup import RequestLookup
    from instance_lookup.types import InstanceConfig

View = TypeVar("View", bound="Callable[..., Any]")


@overload
def instance_required(view: View) -> View: ...
@overload
def instance_required(*, policy: Allows | None = None) -> Callable[[View], View]: ...
def instance_required(view: Any = None, *, policy: Allows | None = None) -> Any:
    """Run a sync or async view only for users who may have the request's instance.

    ``policy`` has to allow it too, beside ``ACCESS_POLICY``: to be stricter, such as ``IsOwner()``.
    Around ``dispatch`` of a DRF view it waits until DRF knows the user.
    """
    if view is None:
        return partial(instance_required, policy=policy)
    if is_drf_view(view):
        raise TypeError(
            "@instance_required around a view of DRF would run before DRF knows the user: put it "
            "below @api_view, on a method by method_decorator, or use permission classes."
        )
    if iscoroutinefunction(view):

        @wraps(view)
        async def awrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            lookup = lookup_for(request)
            try:
                result = await lookup.aget()
                await call_when_loaded(partial(_insist, policy, lookup, result.config))
            except InstanceLookupError as exc:
                return _answered(request, exc)
            return _finished(request, await view(request, *args, **kwargs))

        return awrapper

    drf_view = view_of(view)

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            # Django's request, though the view is DRF's: this is around its dispatch.
            if drf_view is not None and django_part(request) is request:
                check_after_permissions(drf_view, partial(_look_up, policy))
                return _finished(request, view(request, *args, **kwargs))
            _look_up(policy, request)
        except InstanceLookupError as exc:
            return _answered(request, exc)
        return _finished(request, view(request, *args, **kwargs))

    return wrapper


class InstanceRequiredMixin:
    """``@instance_required`` for class-based views, sync and async. It is the first base."""

    instance_policy: Allows | None = None
    """Has to allow it too, beside ``ACCESS_POLICY``."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view if the user of ``request`` may have its instance.

        ``args`` and ``kwargs`` are what the URL names; the view gets them as they are.
        """
        view: Callable[..., Any] = super().dispatch  # type: ignore[misc]  # of the View beside this mixin
        if self.view_is_async:  # type: ignore[attr-defined]
            view = _awaiting(view)
        return instance_required(policy=self.instance_policy)(view)(request, *args, **kwargs)


def _awaiting(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``view`` as a coroutine function: ``dispatch`` of an async view is a plain one."""

    async def awaiting(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return await view(request, *args, **kwargs)

    return awaiting


def _look_up(policy: Allows | None, request: HttpRequest) -> None:
    lookup = lookup_for(request)
    _insist(policy, lookup, lookup.get().config)


def _insist(policy: Allows | None, lookup: RequestLookup, config: InstanceConfig) -> None:
    """Ask the stricter policy. Raise ``AccessDenied``."""
    if policy is not None and not lookup.allows(policy, config):
        lookup.log_refusal(config, partial(lookup.rule, policy, config))
        what = f"instance {config.instance_id!r}"
        raise AccessDenied(f"You may not do this in {what}.", instance_id=config.instance_id)


def _answered(request: HttpRequest, error: InstanceLookupError) -> HttpResponseBase:
    response = error_response(request, error)
    if response is None:
        raise error
    return _finished(request, response)


def _finished(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    # The middleware does this too, where there is one; twice does no harm.
    if isinstance(response, HttpResponseBase):  # else Django says better what is wrong
        lookup_for(request).state.finish(response)
    return response
