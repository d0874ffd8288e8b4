"""How often an instance may call a view: the ``rate_limits`` of its configuration, kept to.

``views``: the decorator. ``drf``: the throttle class, which alone needs Django REST framework.
``calls``: counts one request's call. ``counter``: where calls are counted, and what an outage of
that means. ``buckets`` counts on Redis and Valkey, ``windows`` on every other cache. ``limits``:
what both reckon with, and the headers.

Not here: who may call at all (``access``), and how many deliveries the webhook takes (``push``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance_lookup.throttling.views import instance_throttled

if TYPE_CHECKING:
    from instance_lookup.throttling.drf import InstanceRateThrottle

__all__ = ["InstanceRateThrottle", "instance_throttled"]


def __getattr__(name: str) -> Any:
    """Import late what needs DRF: a site without it has the decorator."""
    if name == "InstanceRateThrottle":
        from instance_lookup.throttling.drf import InstanceRateThrottle  # noqa: PLC0415

        return InstanceRateThrottle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
