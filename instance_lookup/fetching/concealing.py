"""Loads for sites where callers do not learn what exists (``CONCEAL_DENIED``).

What is not a user's own is looked up as if nothing were known of it, whatever the cache holds: the
miss budget is asked first, then the Config Service. So what is denied gets the same answer as what
does not exist, and at the same cost: status, ``Retry-After``, what is left of the budget, and an
outage of the service show nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from instance_lookup.cache.reads import Read
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceNotFound,
)
from instance_lookup.fetching.loader import Loader
from instance_lookup.fetching.notices import log_refusal
from instance_lookup.fetching.reasons import EVERYTHING_GONE
from instance_lookup.fetching.refusals import Refused
from instance_lookup.identifiers import InstanceRef
from instance_lookup.resilience.expiring import Expiring
from instance_lookup.types import InstanceConfig

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Entry
    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.fetcher import Asker, Fetch, Found, Outcome
    from instance_lookup.fetching.refusals import LetsIn
    from instance_lookup.fetching.service_health import ServiceHealth
    from instance_lookup.resilience.deadline import Deadline
    from instance_lookup.users import LookupUser

D = TypeVar("D", bound=Struct)

_REMEMBERED = 0.9
"""Share of ``NEGATIVE_TTL``: for so long at least the cache holds a "does not exist" as well."""


class ConcealingLoader(Loader[D]):
    """Has the cache answer users only for what is theirs, or what they were just told."""

    def __init__(
        self,
        cache: TieredCache[D],
        fetch: Fetch,
        settings: Settings,
        service_health: ServiceHealth,
        lets_in: LetsIn[D] | None = None,
    ) -> None:
        """Load from ``cache``, else by ``fetch``, a method of the backend.

        ``settings`` say for how long users remember what they were told, ``service_health`` is
        shared by the loaders of one resolver, ``lets_in`` says what a 403 means for a copy.
        """
        super().__init__(cache, fetch, settings, service_health, lets_in)
        # Pairs of a user and an id, of this process only. A user who was not told is answered
        # after a call of the service, as for an id that no other user has ever asked for.
        self._told: Expiring[bool] = Expiring(_REMEMBERED * settings.negative_ttl)

    def load(
        self,
        asked: str,
        context: LookupContext,
        deadline: Deadline,
        is_theirs: LetsIn[D] | None = None,
        reading: Reading[D] | None = None,
    ) -> Steps[Found[D]]:
        """Return the document of an id: from the cache only if ``is_theirs`` allows what it holds.

        ``asked`` is the id, ``context`` says who asks, ``deadline`` is the end of the lookup.
        Without ``is_theirs`` a project led to the id, and the user has paid for the project.
        ``reading`` is what the cache holds, where the caller has looked.
        The caller says with :meth:`settle` how the lookup ended. Raises as :meth:`Loader.load`,
        and ``MissBudgetSpent``.
        """
        if is_theirs is not None:
            user, near = context.user, self._cache.near.get(asked)
            if near is not None and (yield from self._is_for(user, asked, near, is_theirs)):
                return self._hit(asked, near)
            reading = yield Read(self._cache, asked, near=False)
            entry = reading.entry
            if entry is None or not (yield from self._is_for(user, asked, entry, is_theirs)):
                found = yield from self._guess(asked, reading, context, deadline)
                # Another lookup may have been refused meanwhile.
                yield from self._refusals.check(user, asked)
                return found
        return (yield from super().load(asked, context, deadline, reading=reading))

    def settle(self, user: LookupUser, asked: str, *, theirs: bool) -> None:
        """Charge ``user`` for the id ``asked`` that is not ``theirs``, unless they paid lately.

        Give back what they paid for an id that turned out to be theirs.
        """
        pair = user.identity, asked
        if theirs:
            if self._told.items and self._told.drop(pair):
                self._flights.budget.refund(user.identity)
        elif self._told.get(pair) is None:
            self._pay(user.identity, asked)

    def _is_for(
        self, user: LookupUser, asked: str, entry: Entry[D], is_theirs: LetsIn[D]
    ) -> Steps[bool]:
        if entry.document is None or (user, asked) in self._refusals:
            return False
        return (yield from is_theirs(user, entry.document))

    def _guess(
        self, asked: str, reading: Reading[D], context: LookupContext, deadline: Deadline
    ) -> Steps[Found[D]]:
        """Ask for what is not the user's own as for what does not exist."""
        asker = self._asker(context, limited=True, guesses=True)
        self._flights.check_budget(asked, asker)
        yield from self._refusals.check(context.user, asked)
        entry, told = reading.entry, self._told.get((asker.identity, asked))
        # Blocked, or remembered, and not invalidated since.
        if told and (reading.blocked_until or (entry is not None and not entry.expired)):
            self._count("negative_hits")
            if entry is not None and isinstance(entry.document, InstanceConfig):
                log_refusal(context, InstanceRef(asked), "as decided a moment ago")
            raise InstanceNotFound(f"{asked!r} is nothing of this user's.")
        self._check_pause(asked, reading, asker)
        self._count("misses")
        try:
            return (
                yield from self._flights.fetch(
                    asked, reading, asker, deadline, user=context.user, copy=None
                )
            )
        except ConfigServiceUnavailable as exc:
            if exc.details["reason"] != EVERYTHING_GONE:
                raise
            # Of what does not exist there is no copy, so that its 404 is believed.
            raise InstanceNotFound(f"The service does not know {asked!r}.") from None

    def _is_limited(self, reading: Reading[D]) -> bool:
        """Tell that the budget has no say: only :meth:`_guess` costs anything."""
        return False

    def _is_miss(self, asked: str, reading: Reading[D], asker: Asker, outcome: Outcome[D]) -> bool:
        """Tell whether the user who guessed was told anything: whose it is shows later."""
        is_answer = outcome.found or isinstance(
            outcome.error, InstanceNotFound | InstanceBlocked | Refused
        )
        if not asker.limited or not is_answer:
            return False
        self._told.put((asker.identity, asked), True)  # noqa: FBT003  # a set's value
        return True

    def _pay(self, identity: tuple[bool, str | None], asked: str) -> None:
        self._told.put((identity, asked), True)  # noqa: FBT003  # a set's value
        self._flights.budget.spend(identity)
