"""A site whose clocks are moved by hand, the wall clock and the monotonic one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceLookupError, InstanceResolver
from tests.support.insides import under_way
from tests.support.lookups import OLGA, TWINS, Service, Twin, asks
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from instance_lookup import LookupUser, Source
    from tests.support.lookups import Clock

SYNC = Twin(is_async=False)

both_caches = pytest.mark.parametrize("cache_kind", ["locmem", "django-redis"])
both_twins = pytest.mark.parametrize("call", TWINS)


def around(seconds: int) -> pytest.MarkDecorator:
    """Run a test one second before a time is over, then, and one second after."""
    return pytest.mark.parametrize(
        ("passed", "is_over"), [(seconds - 1, False), (seconds, True), (seconds + 1, True)]
    )


def cache_down(verb: str, key: str) -> None:
    """Fail, as a hook of the cache."""
    raise OSError("down")


class Site:
    """A resolver that refreshes nothing ahead, the service behind it, and both clocks."""

    def __init__(self, wall: Clock, **options: Any) -> None:
        self.service = Service()
        # A busy machine is not to decide what is served.
        ours: dict[str, Any] = {"soft_timeout": 5.0, "refresh_ahead": None}
        ours["config_service_backend"] = self.service
        self.resolver = InstanceResolver(**{**ours, **options})
        self.wall = wall
        self.monotonic = Monotonic(self.resolver)

    @property
    def calls(self) -> int:
        """How often the service was asked."""
        return len(self.service.calls)

    @property
    def flights(self) -> int:
        """How many fetches are under way."""
        return under_way(self.resolver)

    def passes(self, seconds: float) -> None:
        """Have time pass: both clocks tell."""
        self.wall.now += seconds
        self.monotonic.now += seconds

    def jumps(self, seconds: float) -> None:
        """Set the wall clock ahead by ``seconds``, or back if that is negative."""
        self.wall.now += seconds

    def asked(
        self, call: Twin = SYNC, *, user: LookupUser = OLGA, instance_id: str = "acme"
    ) -> Source | type[InstanceLookupError]:
        """Return where the answer came from, or the kind of error instead of one."""
        try:
            source: Source = call(self.resolver, "resolve", asks(user, instance_id)).source
        except InstanceLookupError as exc:
            return type(exc)
        return source
