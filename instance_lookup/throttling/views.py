"""Views that an instance may call so often: ``@instance_throttled``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from instance_lookup.request.drf import is_drf_view
from instance_lookup.request.guard import guard
from instance_lookup.throttling.calls import acount_call, check_name, count_call

if TYPE_CHECKING:
    from collections.abc import Callable

View = TypeVar("View", bound="Callable[..., Any]")


def instance_throttled(name: str) -> Callable[[View], View]:
    """Run a sync or async view as often as ``rate_limits[name]`` of the request's instance says.

    The call counts for the instance that the request's user may have; its lookup is made first, and
    its errors are answered, as by ``@instance_required``. A call too many is answered with 429.
    An instance whose configuration has no such limit has none. Around ``dispatch`` of a DRF view it
    waits until DRF knows the user. Raises ``ValueError`` for a ``name`` that no header can say.
    """
    name = check_name(name)

    def decorate(view: Any) -> Any:
        if is_drf_view(view):
            raise TypeError(
                "@instance_throttled around a view of DRF would run before DRF knows the user: put"
                " it below @api_view, on a method by method_decorator, or use InstanceRateThrottle."
            )
        return guard(view, partial(count_call, name), partial(acount_call, name))

    return decorate
