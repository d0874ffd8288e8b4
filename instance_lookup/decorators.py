"""Views that need an instance: the lookup is made, and its errors answered, before they run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from instance_lookup.access import denied_here
from instance_lookup.concurrency.deferred import call_when_loaded
from instance_lookup.request.attributes import lookup_for
from instance_lookup.request.drf import is_drf_view
from instance_lookup.request.guard import guard

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
    return guard(view, partial(_look_up, policy), partial(_alook_up, policy))


class InstanceRequiredMixin:
    """``@instance_required`` for class-based views, sync and async. It is the first base."""

    instance_policy: Allows | None = None
    """Has to allow it too, beside ``ACCESS_POLICY``."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view if the user of ``request`` may have its instance.

        ``args`` and ``kwargs`` are what the URL names; the view gets them as they are.
        """
        view: Callable[..., Any] = super().dispatch  # type: ignore[misc]  # of the View beside this mixin
        return instance_required(policy=self.instance_policy)(view)(request, *args, **kwargs)


def _look_up(policy: Allows | None, request: HttpRequest) -> None:
    lookup = lookup_for(request)
    _insist(policy, lookup, lookup.get().config)


async def _alook_up(policy: Allows | None, request: HttpRequest) -> None:
    lookup = lookup_for(request)
    result = await lookup.aget()
    await call_when_loaded(partial(_insist, policy, lookup, result.config))


def _insist(policy: Allows | None, lookup: RequestLookup, config: InstanceConfig) -> None:
    """Ask the stricter policy. Raise ``AccessDenied``."""
    if policy is not None and not lookup.allows(policy, config):
        lookup.log_refusal(config, partial(lookup.rule, policy, config))
        raise denied_here(config)
