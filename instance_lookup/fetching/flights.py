"""Fetches that the callers of a process share, and what one user of them may take."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.blocks import blocked
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.crew import Full
from instance_lookup.concurrency.single_flight import Flight, SingleFlight
from instance_lookup.concurrency.steps import Steps, Wait
from instance_lookup.exceptions import (
    CacheError,
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceNotFound,
    MissBudgetSpent,
)
from instance_lookup.fetching.fetcher import Asker, Fetcher, Found, Outcome
from instance_lookup.fetching.leased_fetcher import LeasedFetcher, newer
from instance_lookup.fetching.refusals import Refusals, Refused
from instance_lookup.resilience.budget import MissBudget
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Entry
    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.users import LookupUser

D = TypeVar("D", bound=Struct)

Work = Callable[["Reading[D]"], Outcome[D]]
IsMiss = Callable[[str, "Reading[D]", Asker, Outcome[D]], bool]
"""Tells of an outcome whether the asker asked for what there is not."""

_LANDING = 1.0
"""Seconds after its deadline in which a fetch may end that is not to blame."""
_TRUST = 0.5
"""Share of CONFIG_SERVICE_TIMEOUT for which users wait for the call of another user alone.

As long as for a lease. The service may refuse that one, and their own call takes time as well.
"""
_BESIDE = 4
"""Users who then ask beside that one. All get what the first of them is told, if it is for all."""


class Flights(Generic[D]):
    """Begins fetches of documents of one kind, and waits for them."""

    def __init__(
        self,
        fetcher: Fetcher[D],
        cache: TieredCache[D],
        settings: Settings,
        refusals: Refusals[D],
        is_miss: IsMiss[D],
    ) -> None:
        """Fetch with ``fetcher``, and read ``cache`` again before that.

        ``settings`` say how long callers wait. ``refusals`` are told of 403s. ``is_miss`` says
        what the miss budget is spent on.
        """
        self._fetcher = fetcher
        self._leased = LeasedFetcher(fetcher, cache, settings)
        self._cache = cache
        self._settings = settings
        self._refusals = refusals
        self.budget = MissBudget(settings.miss_budget)
        self._is_miss = is_miss
        self.single: SingleFlight[Outcome[D]] = SingleFlight(
            pools.flights,
            longest=settings.config_service_timeout + _LANDING,
            overdue=fetcher.overdue,
            is_for_all=_is_for_all,
        )

    def check_budget(self, asked: str, asker: Asker) -> None:
        """Raise ``MissBudgetSpent`` for a user who asked for too many ids that do not exist."""
        if asker.limited and (wait := self.budget.wait(asker.identity)):
            raise _overspent(asked, wait)

    def fetch(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        deadline: Deadline,
        *,
        user: LookupUser,
        copy: Entry[D] | None,
    ) -> Steps[Found[D]]:
        """Fetch the id ``asked``, or wait for the fetch of it that is under way.

        ``reading`` is what the cache holds of it, ``asker`` in whose name it is asked for, and
        ``user`` who wants it. ``deadline`` is the end of the lookup; callers who have a ``copy``
        wait less. Raises ``InstanceNotFound``, ``Refused``, ``ConfigServiceUnavailable``.
        """
        patient = copy is None or copy.expired
        flight = self.begin(asked, reading, asker, patient=patient)
        if patient and flight.who != asker.identity:
            share = _TRUST * self._settings.config_service_timeout
            yield from self._await(asked, flight, deadline, limit=share)
            if not flight.future.done():
                with suppress(ConfigServiceUnavailable):  # enough others have asked beside it
                    flight = self.begin(
                        asked, reading, asker, patient=True, alone=True, most=_BESIDE
                    )
        limit = self._settings.config_service_timeout
        if not patient:
            limit = min(limit, self._settings.soft_timeout)
        outcome = yield from self._await(asked, flight, deadline, limit=limit)
        if outcome.by is not None and outcome.by != asker.identity:
            # That answer is another user's: this one's own question may have another one.
            flight = self.begin(asked, reading, asker, patient=patient, alone=True)
            outcome = yield from self._await(asked, flight, deadline, limit=limit)
        if outcome.found is not None:
            return outcome.found
        if isinstance(outcome.error, Refused):
            yield from self._refusals.check(user, asked)
        reason = "timeout" if patient else "busy"
        # Others wait for the same error: its traceback must not grow with each of them.
        raise (outcome.error or self._fetcher.unavailable(asked, reason)).with_traceback(None)

    def begin(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        *,
        patient: bool,
        alone: bool = False,
        most: int | None = None,
    ) -> Flight[Outcome[D]]:
        """Return the flight that fetches the id ``asked``; ``alone``: one of this user's own.

        ``reading`` is what the cache holds of it, ``asker`` in whose name it is asked for.
        ``patient`` callers wait for another process; others have a copy. ``most`` is how many
        flights beside the first one there may be for the id. Raises ``ConfigServiceUnavailable``
        where there is no room, or no more threads can start.
        """
        deadline = Deadline.after(self._settings.config_service_timeout)
        work: Work[D] = partial(
            self._leased.fetch, asked, asker=asker, deadline=deadline, patient=patient
        )
        if alone:  # without the lease: its holder may be a user who is refused
            work = partial(self._fetcher.fetch, asked, asker=asker, deadline=deadline)
        is_service, _ = asker.identity
        part = patient, asker.identity if alone else None
        try:
            return self.single.join(
                self._fetcher.key(asked, reading),
                partial(self._fly, asked, reading, asker, part, work),
                part=part,
                who=asker.identity,
                lane=None if is_service else asker.identity,
                width=self._width(asker),
                most=most,
            )
        except RuntimeError as exc:
            raise self._crowded(asked, exc) from exc

    def _width(self, asker: Asker) -> int:
        """Return how many flights of a user there may be at a time.

        Of guesses no more than the miss budget has left: the next ones see what came of these.
        """
        most = pools.FLIGHTS_OF_ONE_USER
        return min(most, max(1, self.budget.left(asker.identity))) if asker.limited else most

    def _crowded(self, asked: str, exc: RuntimeError) -> ConfigServiceUnavailable:
        is_full = isinstance(exc, Full)
        return self._fetcher.full(asked) if is_full else self._fetcher.unavailable(asked, "busy")

    def _fly(
        self, asked: str, reading: Reading[D], asker: Asker, part: object, work: Work[D]
    ) -> Outcome[D] | Flight[Outcome[D]]:
        """Fetch, in the asker's budget. What they are told counts if they no longer wait, too."""
        who, is_miss = asker.identity, False
        # At take-off, not when the answer is there: until then there is room for any number.
        if asker.limited and (wait := self.budget.take(who)):
            return Outcome(error=_overspent(asked, wait), by=who)
        try:
            if reading.unminted:
                seen, reading = reading, self._cache.read_again(asked)
                if (outcome := newer(reading, seen)) is not None:
                    return outcome
                # Callers who look from now on find the generation that was written just now.
                key = self._fetcher.key
                if other := self.single.rename(key(asked, seen), key(asked, reading), part):
                    return other
            outcome = withheld(self._cache, asked, work(reading))
            if isinstance(outcome.error, Refused):
                self._refusals.note(asker, asked)
            is_miss = self._is_miss(asked, reading, asker, outcome)
            return outcome
        finally:
            if asker.limited:
                self.budget.land(who, is_miss=is_miss)

    def _await(
        self, asked: str, flight: Flight[Outcome[D]], deadline: Deadline, *, limit: float
    ) -> Steps[Outcome[D]]:
        """Wait for a flight until ``limit`` seconds after it began, or the ``deadline``."""
        seconds = max(0.0, min(deadline.remaining(), flight.began + limit - monotonic()))
        try:
            outcome: Outcome[D] | None = yield Wait(flight.future, seconds)
        except RuntimeError as exc:  # it did not take off, and the caller that began it was told so
            raise self._crowded(asked, exc) from exc
        return outcome or Outcome()


def withheld(cache: TieredCache[D], asked: str, outcome: Outcome[D]) -> Outcome[D]:
    """Return the ``outcome`` of a fetch, unless the id ``asked`` is blocked by now.

    Others may have blocked it while the service was asked. ``cache`` tells; while that is down,
    what this process last read there.
    """
    if outcome.found is None or outcome.found.source is not Source.SERVICE:
        return outcome
    end = cache.shared.blocks.until(asked)
    if not cache.health.breaker.wait():  # else it would cost its timeout
        with suppress(CacheError):
            end = cache.shared.block_of(asked)
    return Outcome(error=blocked(asked, end)) if end else outcome


def _is_for_all(outcome: Outcome[D]) -> bool:
    """Tell whether it answers all callers: a failure is of one call, a refusal of one user."""
    is_answer = isinstance(outcome.error, InstanceNotFound | InstanceBlocked)
    return outcome.found is not None or is_answer


def _overspent(asked: str, wait: float) -> MissBudgetSpent:
    return MissBudgetSpent(
        f"Too many ids that do not exist: {asked!r} is not asked for.",
        retry_after=wait,
        reason="miss_budget",
    )
