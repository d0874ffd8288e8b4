"""From the cache, else from the Config Service, else the stale copy: one document of one kind."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.entry import Entry, Freshness
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.single_flight import Flight, SingleFlight
from instance_lookup.concurrency.steps import Blocking, Steps, Wait
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound, MissBudgetSpent
from instance_lookup.fetching.fetcher import Asker, Fetch, Fetcher, Found, Outcome
from instance_lookup.fetching.leased_fetcher import LeasedFetcher
from instance_lookup.fetching.refusals import LetsIn, Refusals, Refused
from instance_lookup.resilience.budget import MissBudget
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.types import InstanceConfig, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.cache.shared import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.service_health import ServiceHealth
    from instance_lookup.users import LookupUser

D = TypeVar("D", bound=Struct)

_LANDING = 1.0
"""Seconds after its deadline in which a fetch may end that is not to blame."""


class Loader(Generic[D]):
    """Loads the documents of one kind, from the cache or from the Config Service."""

    def __init__(
        self,
        cache: TieredCache[D],
        fetch: Fetch,
        settings: Settings,
        service_health: ServiceHealth,
        lets_in: LetsIn[D] | None = None,
    ) -> None:
        """Load from ``cache``, else by ``fetch``. ``lets_in`` says what a 403 means for a copy."""
        self._cache = cache
        self._fetcher = Fetcher(cache, fetch, settings, service_health)
        self._leased = LeasedFetcher(self._fetcher, cache, settings)
        self._flights: SingleFlight[Outcome[D]] = SingleFlight(
            pools.flights,
            longest=settings.config_service_timeout + _LANDING,
            overdue=self._fetcher.overdue,
        )
        self._refusals = Refusals(settings.negative_ttl, cache, lets_in)
        self._budget = MissBudget(settings.miss_budget)
        self._settings = settings
        self._count = service_health.count

    def load(
        self,
        asked: str,
        context: LookupContext,
        deadline: Deadline,
        is_theirs: LetsIn[D] | None = None,
    ) -> Steps[Found[D]]:
        """Return the document of the id ``asked``.

        ``context`` says who asks, ``deadline`` is the end of the lookup. ``is_theirs`` is used
        only where denials are concealed. Raises ``InstanceNotFound``, ``Refused``,
        ``ConfigServiceUnavailable``, and its ``MissBudgetSpent``.
        """
        if self._refusals.any:
            yield from self._refusals.check(context.user, asked)
        reading: Reading[D] = yield self._cache.step(asked)
        entry = reading.entry
        if entry is not None and entry.freshness is Freshness.FRESH:
            found = self._fresh(asked, entry, reading)
        else:
            found = yield from self._renew(asked, reading, context, deadline)
        if self._refusals.any:  # another lookup may have been refused meanwhile
            yield from self._refusals.check(context.user, asked)
        return found

    def read_near(self, asked: str, user: LookupUser) -> Entry[D] | None:
        """Return the entry of an id if it takes no I/O, and the service did not refuse it."""
        if self._refusals.any and (user, asked) in self._refusals:
            return None
        return self._cache.near.get(asked)

    def held(self, asked: str, user: LookupUser) -> Steps[D | None]:
        """Return what the cache holds of an id, fresh or stale, unless the service refused it."""
        reading: Reading[D] = yield self._cache.step(asked)
        entry = reading.entry
        return None if entry is None or (user, asked) in self._refusals else entry.document

    def settle(self, user: LookupUser, asked: str, *, theirs: bool) -> None:
        """Note how a lookup ended. Does nothing here: :class:`ConcealingLoader` needs it."""

    def _renew(
        self, asked: str, reading: Reading[D], context: LookupContext, deadline: Deadline
    ) -> Steps[Found[D]]:
        """Return what the Config Service says, or the stale copy where that may be served."""
        entry = reading.entry
        self._count("misses")
        copy = entry if entry and entry.document and self._settings.use_stale_on_error else None
        if copy is not None and self._fetcher.rests(asked, reading):
            return self._stale(copy)
        try:
            asker = self._asker(context, limited=self._is_limited(reading))
            if overspent := self._overspent(asked, asker):
                raise overspent
            return (
                yield from self._fetch(
                    asked, reading, asker, deadline, user=context.user, copy=copy
                )
            )
        except ConfigServiceUnavailable as exc:
            if copy is None:
                raise
            # Read again: while the service was asked the copy may have been invalidated, and
            # it has aged.
            latest: Reading[D] = yield Blocking(partial(self._cache.read_again, asked))
            if latest.entry is None or latest.entry.document is None:
                if exc.details["reason"] != "busy":
                    raise
                # The fetch goes on, and there is no copy left to serve: wait for it.
                return (
                    yield from self._fetch(
                        asked, latest, asker, deadline, user=context.user, copy=None
                    )
                )
            return self._stale(latest.entry)

    def refresh(self, asked: str, context: LookupContext, deadline: Deadline) -> Found[D]:
        """Ask the Config Service, even if the cache has a fresh entry; store the answer. Blocks.

        ``asked`` is the id. Raises as :meth:`load`, and ends by ``deadline`` if the backend does.
        """
        reading = self._cache.read_shared(asked)
        outcome = self._fetcher.fetch(asked, reading, self._asker(context), deadline)
        if outcome.found is None:
            raise outcome.error or self._fetcher.unavailable(asked, "busy")
        return outcome.found

    def _is_limited(self, reading: Reading[D]) -> bool:
        """Tell whether the budget decides if the service is asked: nothing is known of the id."""
        return reading.entry is None or reading.entry.document is None

    def _overspent(self, asked: str, asker: Asker) -> MissBudgetSpent | None:
        """Return the error for a user who asked for too many ids that do not exist."""
        if not asker.limited or not (wait := self._budget.wait(asker.identity)):
            return None
        return MissBudgetSpent(
            f"Too many ids that do not exist: {asked!r} is not asked for.",
            retry_after=wait,
            reason="miss_budget",
        )

    def _fetch(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        deadline: Deadline,
        *,
        user: LookupUser,
        copy: Entry[D] | None,
    ) -> Steps[Found[D]]:
        """Fetch, or wait for the fetch that is under way; callers who have a copy wait less."""
        patient = copy is None or copy.expired
        flight = self._begin(asked, reading, asker, patient=patient)
        outcome = yield from self._await(flight, deadline, patient=patient)
        if outcome.by is not None and outcome.by != asker.identity:
            # The service refused another user: this one's own question may have another answer.
            flight = self._begin(asked, reading, asker, patient=patient, of=asker.identity)
            outcome = yield from self._await(flight, deadline, patient=patient)
        if outcome.found is not None:
            return outcome.found
        if isinstance(outcome.error, Refused):
            yield from self._refusals.check(user, asked)
        reason = "timeout" if patient else "busy"
        # Others wait for the same error: its traceback must not grow with each of them.
        raise (outcome.error or self._fetcher.unavailable(asked, reason)).with_traceback(None)

    def _begin(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        *,
        patient: bool,
        of: tuple[bool, str | None] | None = None,
    ) -> Flight[Outcome[D]]:
        """Return the flight that fetches what was read; ``of`` is for one user's own question.

        Raises ``ConfigServiceUnavailable`` where the process can start no more threads.
        """
        deadline = Deadline.after(self._settings.config_service_timeout)
        work: Callable[[], Outcome[D]]
        work = partial(self._leased.fetch, asked, reading, asker, deadline, patient=patient)
        if of is not None:  # without the lease: its holder may be a user who is refused
            work = partial(self._fetcher.fetch, asked, reading, asker, deadline)
        noting = partial(self._noting, asked, reading, asker, work)
        try:
            return self._flights.join((*self._fetcher.key(asked, reading), of, patient), noting)
        except RuntimeError as exc:
            raise self._fetcher.unavailable(asked, "busy") from exc

    def _noting(
        self, asked: str, reading: Reading[D], asker: Asker, work: Callable[[], Outcome[D]]
    ) -> Outcome[D]:
        """Remember what the asker was told, even if they no longer wait for it."""
        # Again: while this waited for a worker, many before it may have spent what there was.
        if overspent := self._overspent(asked, asker):
            return Outcome(error=overspent, by=asker.identity)
        outcome = work()
        if isinstance(outcome.error, Refused):
            self._refusals.note(asker, asked)
        self._charge(asked, reading, asker, outcome)
        return outcome

    def _charge(self, asked: str, reading: Reading[D], asker: Asker, outcome: Outcome[D]) -> None:
        """Charge the asker for a miss."""
        is_guess = isinstance(outcome.error, Refused) and reading.entry is None
        if is_guess or isinstance(outcome.error, InstanceNotFound):
            self._budget.spend(asker.identity)

    def _await(
        self, flight: Flight[Outcome[D]], deadline: Deadline, *, patient: bool
    ) -> Steps[Outcome[D]]:
        limit = self._settings.config_service_timeout
        if not patient:
            limit = min(limit, self._settings.soft_timeout)
        seconds = max(0.0, min(deadline.remaining(), flight.began + limit - monotonic()))
        outcome: Outcome[D] | None = yield Wait(flight.future, seconds)
        return outcome or Outcome()

    def _hit(
        self, asked: str, entry: Entry[D], ahead: tuple[Callable[[], None], ...] = ()
    ) -> Found[D]:
        if entry.document is None:
            self._count("negative_hits")
            raise InstanceNotFound(f"{asked!r} does not exist.")
        self._count("hits")
        remaining = entry.ttl_remaining(time())
        return Found(entry.document, Source.CACHE, entry.cached_at, remaining, ahead)

    def _fresh(self, asked: str, entry: Entry[D], reading: Reading[D]) -> Found[D]:
        document = entry.document
        # Without a generation it is near, and leaves that tier in time to be fetched ahead.
        due = reading.generation is not None and self._is_due(asked, entry)
        if document is None or not due or self._fetcher.rests(asked, reading):
            return self._hit(asked, entry)
        return self._hit(asked, entry, (partial(self._refresh_ahead, asked, reading, document),))

    def _refresh_ahead(self, asked: str, reading: Reading[D], document: D) -> None:
        """Begin to fetch in the background what is about to become stale, unless that has begun."""
        owner = document.metadata.owner if isinstance(document, InstanceConfig) else None
        user_id = owner or self._settings.config_service_user_id
        asker = Asker((not owner, user_id), user_id, fresh_request_id())
        if (asker, asked) in self._refusals:
            return
        with suppress(ConfigServiceUnavailable):  # the caller has an answer
            self._begin(asked, reading, asker, patient=False)

    def _stale(self, copy: Entry[D]) -> Found[D]:
        assert copy.document is not None  # noqa: S101  # a copy has a document
        self._count("stale_hits")
        return Found(copy.document, Source.STALE_CACHE, copy.cached_at, 0.0)

    def _is_due(self, asked: str, entry: Entry[D]) -> bool:
        """Tell whether to refresh ahead: from a moment that differs for each entry.

        Else a thousand entries that were warmed together would be fetched together for ever.
        """
        start = self._settings.refresh_ahead
        if start is None:
            return False
        age = time() - entry.cached_at
        if age < start * entry.ttl:
            return False
        share = hash((asked, entry.cached_at)) % 1000 / 1000
        return age >= (start + (1 - start) * share) * entry.ttl

    def _asker(self, context: LookupContext, *, limited: bool = False) -> Asker:
        user: LookupUser = context.user
        user_id = self._settings.config_service_user_id if user.is_service else user.user_id
        request_id = context.request_metadata.request_id or fresh_request_id()
        return Asker(user.identity, user_id, request_id, limited and not user.is_service)
