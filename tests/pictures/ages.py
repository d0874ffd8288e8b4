"""What a lookup gets from an entry of each age, as a real resolver answers it."""

from __future__ import annotations

import json
from enum import Enum
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, NamedTuple

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.entry import Freshness, freshness, pack
from instance_lookup.conf import Settings
from tests.support.insides import has_landed
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from instance_lookup.backends.base import Document, NotModified, Query

DEFAULTS = Settings()
TTL, STALE_MAX_AGE = float(DEFAULTS.cache_ttl), float(DEFAULTS.stale_max_age)
assert DEFAULTS.refresh_ahead is not None
AHEAD = DEFAULTS.refresh_ahead * TTL
"""The age from which on an entry may be fetched ahead, in seconds."""
_SOFT, _HARD = 0.05, 0.2
"""The two timeouts while a slow service is asked: the answers are the same, and come sooner."""
_LONG = 60.0
"""Either timeout while the service is quick: none runs out on a machine with much else to do."""
_MARGIN = 5.0
"""Seconds before the end of an interval at which a lookup begins, so that it ends in there."""
_WHOLE = "CONFIG_SERVICE_TIMEOUT", _HARD
_TRIES = 20
"""Entries of one age, of which one may be fetched ahead."""


class Health(Enum):
    """How the Config Service is."""

    UP = "answers"
    SLOW = "is too slow"
    DOWN = "is down"


class Interval(NamedTuple):
    """Ages, in seconds, at which an entry is good for the same."""

    name: str
    begin: float
    end: float


class Got(NamedTuple):
    """What a lookup got from one entry, at any of the ages that were tried."""

    answer: str
    """The ``source`` of the result, or the class of the error."""
    waited: str
    """What bounded the wait: a timeout's name, or empty where it was none."""
    calls: int
    """Calls of the Config Service, by the time that nothing was under way any more."""
    more: int = 0
    """Calls by the next lookup, where the service is down."""


class _Service(DictConfigService):
    """A Config Service that is as it is told to be."""

    def __init__(self, health: Health) -> None:
        super().__init__({"acme": {"metadata": {"owner": "1"}}})
        self._health = health
        if health is Health.DOWN:
            self.failure = ConfigServiceUnavailable("down")

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if self._health is Health.SLOW:
            self._record("get_instance", instance_id, query)
            sleep(query.deadline.remaining())
            raise ConfigServiceUnavailable("timeout")
        return super().get_instance(instance_id, query)


def intervals() -> list[Interval]:
    """Return the states in their order. The code says where each one ends."""
    fresh_until = _first_age(Freshness.STALE, TTL)
    stale_until = _first_age(Freshness.PURGED, STALE_MAX_AGE)
    return [
        Interval("fresh", 0.0, AHEAD),
        Interval("refresh ahead", AHEAD, fresh_until),
        Interval("stale", fresh_until, stale_until),
        Interval("gone", stale_until, stale_until * 1.1),
    ]


def _first_age(state: Freshness, guess: float) -> float:
    """Return the ``guess`` once it turned out to be the first age of that state."""
    before, then = (freshness(0.0, TTL, STALE_MAX_AGE, age) for age in (guess - 0.001, guess))
    assert before is not state
    assert then is state
    return guess


def got(interval: Interval, health: Health) -> Got:
    """Return what lookups get at the begin of an interval, and at its end.

    Raises ``AssertionError`` if that is not the same.
    """
    begin, end = _once(interval.begin + 1, health), _last(interval, health)
    assert begin[:2] == end[:2]
    # Each entry has a moment of its own from which on it is fetched ahead.
    assert begin.calls == end.calls or interval.begin == AHEAD
    return end


def _last(interval: Interval, health: Health) -> Got:
    """Return what is got at the end of an interval: with a call, if that is so for one of many."""
    for _ in range(_TRIES):
        found = _once(interval.end - _MARGIN, health)
        if found.calls:
            break
    return found


def _once(age: float, health: Health) -> Got:
    soft, hard = (_SOFT, _HARD) if health is Health.SLOW else (_LONG, _LONG)
    service = _Service(health)
    resolver = InstanceResolver(
        config_service_backend=service,
        near_cache_size=0,
        soft_timeout=soft,
        config_service_timeout=hard,
    )
    store(resolver, age)
    began = monotonic()
    answer = _ask(resolver)
    took = monotonic() - began
    wait_until(lambda: has_landed(resolver))
    calls = len(service.calls)
    name, bound = ("SOFT_TIMEOUT", _SOFT) if answer == "stale_cache" else _WHOLE
    waited = name if health is Health.SLOW and answer not in {"cache", "service"} else ""
    assert not waited or took >= bound
    if health is Health.DOWN:
        _ask(resolver)
        wait_until(lambda: has_landed(resolver))
    return Got(answer, waited, calls, len(service.calls) - calls)


def _ask(resolver: InstanceResolver) -> str:
    try:
        return str(resolver.resolve(LookupContext(LookupUser("1"), "acme")).source)
    except InstanceLookupError as exc:
        return type(exc).__name__


def store(resolver: InstanceResolver, age: float) -> None:
    """Have the cache hold what was fetched ``age`` seconds ago."""
    resolver.cache.invalidate("acme")
    shared = resolver.cache.tiers.shared
    packed = pack(
        shared.kind,
        "acme",
        json.dumps({"instance_id": "acme", "metadata": {"owner": "1"}}).encode(),
        generation=shared.read("acme").generation,
        cached_at=time() - age,
        ttl=TTL,
        etag=None,
    )
    shared.write("acme", packed)
