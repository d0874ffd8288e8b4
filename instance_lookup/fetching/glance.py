"""What a lookup would meet, looked at without changing anything: for operators.

Nothing is minted, counted, noted, fetched or moved up: not even which entry was used last. So this
looks into the parts of a loader, which otherwise only they themselves do.
"""

# ruff: noqa: SLF001

from __future__ import annotations

from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.entry import Entry
from instance_lookup.cache.kinds import Kind
from instance_lookup.cache.reading import Peek, Reading
from instance_lookup.exceptions import CacheError
from instance_lookup.fetching.concealing import ConcealingLoader
from instance_lookup.fetching.fetcher import Asker

if TYPE_CHECKING:
    from collections.abc import Hashable

    from instance_lookup.cache.near import NearTier
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.loader import Loader

D = TypeVar("D", bound=Struct)


class Glance(Struct, Generic[D], frozen=True, kw_only=True):
    """What one loader would meet with one id, for one user. Times are in seconds."""

    kind: Kind[D]
    is_near_off: bool
    """Whether there is none, as far as this process has found out: it does so at the first read."""
    near: Entry[D] | None
    near_took: float
    shared: Peek[D] | None
    """``None``: the cache failed, or is left alone because it did."""
    shared_took: float
    cache_error: CacheError | None
    cache_left_alone: float
    kept: Entry[D] | None
    """What this process keeps of an answer, because the cache did not take it."""
    blocked_until: float
    """Unix time; 0: it is not blocked, as far as this process knows."""
    flight: float | None
    """Since when a fetch of it is under way in this process."""
    asker: Asker
    is_refused: bool
    """Whether the Config Service refused this user a moment ago."""
    is_told: bool
    """Whether this user was told a moment ago that there is no such thing (``CONCEAL_DENIED``)."""
    failing: tuple[str, ...]
    """Why the Config Service gives no usable answers, as far as this process knows."""
    service_left_alone: float
    id_left_alone: float
    """For callers without a copy."""
    rests: bool
    """Whether callers with a copy leave the id alone."""
    budget_wait: float
    """Until the user's miss budget lets them ask for what is not known."""

    @property
    def entry(self) -> Entry[D] | None:
        """What a lookup would find: near, or shared, or kept while the cache is down."""
        if self.near is not None:
            return self.near
        if self.blocked_until:
            return None
        found = self.shared.entry if self.shared else None
        return found or self.kept


def glance(
    loader: Loader[D], asked: str, context: LookupContext, *, guesses: bool = False
) -> Glance[D]:
    """Return what ``loader`` would meet with the id ``asked``.

    ``context`` says who asks. With ``guesses`` nothing may show what others have asked for
    (``CONCEAL_DENIED``).
    """
    cache, user = loader._cache, context.user
    began = perf_counter()
    near = _near(cache.near, asked)
    near_took = perf_counter() - began
    left_alone, shared, error = cache.health.breaker.wait(), None, None
    began = perf_counter()
    if not left_alone:
        try:
            shared = cache.shared.peek(asked)
        except CacheError as exc:
            error = exc
    shared_took = perf_counter() - began
    entry, generation = (shared.entry, shared.generation) if shared else (None, None)
    reading = Reading(generation, entry, cache._epochs.of(asked))
    limited = guesses or loader._is_limited(reading)
    asker = loader._asker(context, limited=limited, guesses=guesses)
    fetcher, flights = loader._fetcher, loader._flights
    health = fetcher.service_health
    about = f"{cache.kind.name} {asked!r}"
    return Glance(
        kind=cache.kind,
        is_near_off=cache.near.is_open and not cache.near.size,
        near=near,
        near_took=near_took,
        shared=shared,
        shared_took=shared_took,
        cache_error=error,
        cache_left_alone=left_alone,
        kept=cache._buffer.answer(asked),
        blocked_until=shared.blocked_until if shared else cache.shared.blocks.until(asked),
        flight=_flight(loader, asked),
        asker=asker,
        is_refused=(user, asked) in loader._refusals,
        is_told=isinstance(loader, ConcealingLoader)
        and loader._told.get((user.identity, asked)) is not None,
        failing=tuple(
            str(reason)
            for part, reason in list(health.service.failing.items())
            if part in ("", about, "what it says is gone")
        ),
        service_left_alone=health.breaker.wait(),
        id_left_alone=fetcher.pause(asked, reading, asker),
        rests=fetcher.rests(asked, reading, asker),
        budget_wait=flights.budget.wait(asker.identity) if asker.limited else 0.0,
    )


def _near(tier: NearTier[D], asked: str) -> Entry[D] | None:
    """Return what :meth:`NearTier.get` does, without noting that it was used."""
    near = tier._known.get(asked) or tier._unknown.get(asked)
    if near is None:
        return None
    now = monotonic()
    channel = tier._channel
    is_sure = now < near.sure_until or (
        now < near.until and (channel is None or now < channel.sure_until)
    )
    return near.entry if is_sure and near.fresh_from <= time() < near.fresh_until else None


def _flight(loader: Loader[D], asked: str) -> float | None:
    board = loader._flights.single._board
    with board.lock:
        began = [
            flight.began
            for key, group in board.groups.items()
            if _is_of(key, asked)
            for flight in group.flights.values()
        ]
    return monotonic() - min(began) if began else None


def _is_of(key: Hashable, asked: str) -> bool:
    return isinstance(key, tuple) and key[0] == asked
