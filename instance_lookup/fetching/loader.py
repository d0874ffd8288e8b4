"""From the cache, else from the Config Service, else the stale copy: one document of one kind."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Generic, TypeVar
from zlib import crc32

from msgspec import Struct

from instance_lookup.cache.blocks import blocked
from instance_lookup.cache.entry import Entry, Freshness
from instance_lookup.cache.reads import Read
from instance_lookup.concurrency.first_use import first_use
from instance_lookup.concurrency.steps import Blocking, Steps
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound
from instance_lookup.fetching.fetcher import Asker, Fetch, Fetcher, Found, Outcome
from instance_lookup.fetching.flights import Flights, withheld
from instance_lookup.fetching.refusals import LetsIn, Refusals, Refused
from instance_lookup.resilience.expiring import Expiring
from instance_lookup.types import InstanceConfig, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.service_health import ServiceHealth
    from instance_lookup.resilience.deadline import Deadline
    from instance_lookup.users import LookupUser

D = TypeVar("D", bound=Struct)

AFTER_CHANGES = 16
"""Fetches under way from which on a change begins no more. Callers need the room, and the service
may change thousands in one go."""

_AHEAD_AGAIN = 0.5
"""Seconds until a hit begins a refresh ahead once more. Most calls have ended by then."""


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
        """Load from ``cache``, else by ``fetch``, a method of the backend, as ``settings`` say.

        ``service_health`` is shared by the loaders of one resolver. ``lets_in`` says what a 403
        means for a copy.
        """
        self._cache = cache
        self._fetcher = Fetcher(cache, fetch, settings, service_health)
        self._refusals = Refusals(settings.negative_ttl, cache, lets_in)
        self._flights = Flights(self._fetcher, cache, settings, self._refusals, self._is_miss)
        self._begun_ahead: Expiring[bool] = Expiring(_AHEAD_AGAIN)
        self._settings = settings
        self._count = service_health.count
        self._breaker = service_health.breaker

    def load(
        self,
        asked: str,
        context: LookupContext,
        deadline: Deadline,
        is_theirs: LetsIn[D] | None = None,
        reading: Reading[D] | None = None,
    ) -> Steps[Found[D]]:
        """Return the document of the id ``asked``.

        ``context`` says who asks, ``deadline`` is the end of the lookup. ``is_theirs`` is used
        only where denials are concealed. ``reading`` is what the cache holds, where the caller has
        looked. Raises ``InstanceNotFound``, ``InstanceBlocked``, ``Refused``,
        ``ConfigServiceUnavailable``, and its ``MissBudgetSpent``.
        """
        if first_use.is_due:
            first_use.happens()
        if self._refusals.any:
            yield from self._refusals.check(context.user, asked)
        if reading is None:
            reading = yield Read(self._cache, asked)
        entry = reading.entry
        if entry is not None and entry.freshness is Freshness.FRESH:
            found = self._fresh(asked, entry, reading)
        else:
            found = yield from self._renew(asked, reading, context, deadline)
        if self._refusals.any:  # another lookup may have been refused meanwhile
            yield from self._refusals.check(context.user, asked)
        return found

    @property
    def flights(self) -> int:
        """How many fetches are under way in this process."""
        return self._flights.single.under_way()

    def read_near(self, asked: str, user: LookupUser) -> Entry[D] | None:
        """Return the entry of an id if it takes no I/O, and the service did not refuse it."""
        if self._refusals.any and (user, asked) in self._refusals:
            return None
        return self._cache.near.get(asked)

    def read(self, asked: str) -> Reading[D]:
        """Return what the cache of all processes holds of an id. Blocks."""
        if first_use.is_due:
            first_use.happens()
        return self._cache.read(asked, near=False)

    def hit(self, asked: str, user: LookupUser, reading: Reading[D]) -> Entry[D] | None:
        """Return the entry in ``reading`` where :meth:`load` would serve it and do no more."""
        entry = reading.entry
        if entry is None or entry.freshness is not Freshness.FRESH or self._is_due(asked, entry):
            return None
        return None if self._refusals.any and (user, asked) in self._refusals else entry

    def held(self, asked: str, user: LookupUser) -> Steps[D | None]:
        """Return what the cache holds of an id, fresh or stale, unless the service refused it."""
        reading: Reading[D] = yield Read(self._cache, asked)
        entry = reading.entry
        return None if entry is None or (user, asked) in self._refusals else entry.document

    def settle(self, user: LookupUser, asked: str, *, theirs: bool) -> None:
        """Note whether the id ``asked`` is ``theirs``, which ``user`` may have.

        Does nothing here: :class:`ConcealingLoader` needs it.
        """

    def _renew(
        self, asked: str, reading: Reading[D], context: LookupContext, deadline: Deadline
    ) -> Steps[Found[D]]:
        """Return what the Config Service says, or the stale copy where that may be served."""
        if reading.blocked_until:
            raise blocked(asked, reading.blocked_until)
        entry = reading.entry
        self._count("misses")
        copy = entry if entry and entry.document and self._settings.use_stale_on_error else None
        asker = self._asker(context, limited=self._is_limited(reading))
        if copy is not None and self._fetcher.rests(asked, reading, asker):
            return self._stale(copy)
        try:
            if copy is None:
                self._check_pause(asked, reading, asker)
            self._flights.check_budget(asked, asker)
            return (
                yield from self._flights.fetch(
                    asked, reading, asker, deadline, user=context.user, copy=copy
                )
            )
        except ConfigServiceUnavailable as exc:
            if copy is None:
                raise
            # Read again: while the service was asked the copy may have been invalidated, and
            # it has aged.
            latest: Reading[D] = yield Blocking(partial(self._cache.read_again, asked))
            if latest.blocked_until:
                raise blocked(asked, latest.blocked_until) from None
            if latest.entry is None or latest.entry.document is None:
                if exc.details["reason"] != "busy":
                    raise
                # The fetch goes on, and there is no copy left to serve: wait for it.
                return (
                    yield from self._flights.fetch(
                        asked, latest, asker, deadline, user=context.user, copy=None
                    )
                )
            return self._stale(latest.entry)

    def refresh(self, asked: str, context: LookupContext, deadline: Deadline) -> Found[D]:
        """Ask the Config Service, even if the cache has a fresh entry; store the answer. Blocks.

        ``asked`` is the id, ``context`` says who asks. Raises as :meth:`load`, and ends by
        ``deadline`` if the backend does.
        """
        reading = self._cache.read_shared(asked, mint=True)
        if reading.blocked_until:
            raise blocked(asked, reading.blocked_until)
        outcome = self._fetcher.fetch(asked, reading, self._asker(context), deadline)
        outcome = withheld(self._cache, asked, outcome)
        if outcome.found is None:
            raise outcome.error or self._fetcher.unavailable(asked, "busy")
        return outcome.found

    def refresh_if_used(self, asked: str) -> None:
        """Begin to fetch what has just been expired, in the background, if it is in use.

        It is where the cache holds a document that is younger than its ttl: it was fetched for a
        caller, or warmed, in that time. Blocks for one look at the cache. Does nothing where
        ``REFRESH_AHEAD`` is off, or much is being fetched: then the next caller fetches.
        """
        if self._settings.refresh_ahead is None or self.flights >= AFTER_CHANGES:
            return
        reading = self._cache.read_shared(asked)
        entry = reading.entry
        if entry is None or entry.document is None:
            return
        if time() - entry.cached_at < entry.ttl:
            # Patient: another process may still be fetching what was before the change.
            self._refresh_ahead(asked, reading, entry.document, patient=True)

    def _check_pause(self, asked: str, reading: Reading[D], asker: Asker) -> None:
        """Raise ``ConfigServiceUnavailable`` while the service, or this id, is left alone."""
        if wait := self._breaker.wait():
            raise self._fetcher.unavailable(asked, "circuit_open", retry_after=wait)
        if pause := self._fetcher.pause(asked, reading, asker):
            raise self._fetcher.unavailable(asked, "backing_off", retry_after=pause)

    def _is_limited(self, reading: Reading[D]) -> bool:
        """Tell whether the budget decides if the service is asked: nothing is known of the id."""
        return reading.entry is None or reading.entry.document is None

    def _is_miss(self, asked: str, reading: Reading[D], asker: Asker, outcome: Outcome[D]) -> bool:
        """Tell whether the asker has asked for what there is not, as far as they can know."""
        is_guess = isinstance(outcome.error, Refused) and reading.entry is None
        return is_guess or isinstance(outcome.error, InstanceNotFound)

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
        if self._begun_ahead.get((asked, entry.cached_at)):
            return self._hit(asked, entry)
        return self._hit(asked, entry, (partial(self._refresh_due, asked, reading, document),))

    def _refresh_due(self, asked: str, reading: Reading[D], document: D) -> None:
        """Begin to fetch what is due, and note that: another process may have the lease.

        Without the note each hit here would try to take the lease, for as long as that one fetches.
        """
        assert reading.entry is not None  # noqa: S101  # it is fresh
        self._begun_ahead.put((asked, reading.entry.cached_at), value=True)
        self._refresh_ahead(asked, reading, document)

    def _refresh_ahead(
        self, asked: str, reading: Reading[D], document: D, *, patient: bool = False
    ) -> None:
        """Begin to fetch in the background what is about to become stale, unless that has begun."""
        owner = document.metadata.owner if isinstance(document, InstanceConfig) else None
        user_id = owner or self._settings.config_service_user_id
        asker = Asker((not owner, user_id), user_id, fresh_request_id())
        if (asker, asked) in self._refusals or self._fetcher.rests(asked, reading, asker):
            return
        with suppress(ConfigServiceUnavailable):  # the caller has an answer
            self._flights.begin(asked, reading, asker, patient=patient)

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
        # Not "hash": each process has another one, and the earliest moment of all would count.
        share = crc32(f"{asked}:{entry.cached_at}".encode(errors="surrogatepass")) % 1000 / 1000
        return age >= (start + (1 - start) * share) * entry.ttl

    def _asker(
        self, context: LookupContext, *, limited: bool = False, guesses: bool = False
    ) -> Asker:
        user: LookupUser = context.user
        user_id = self._settings.config_service_user_id if user.is_service else user.user_id
        request_id = context.request_metadata.request_id or fresh_request_id()
        limited = limited and not user.is_service
        return Asker(user.identity, user_id, request_id, limited, guesses)
