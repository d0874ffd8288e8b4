"""What it means that the Config Service answers 403: this user may not have this document.

* The user is denied on every path for ``NEGATIVE_TTL``, also by a copy that would let them in. That
  is remembered in this process, within bounds. No other user hears of it: each asks for themselves.
* It never leads to a stale copy. The copy is kept for the others.
* If the copy would have let this user in, then it says something else than the service does: it is
  invalidated, once for each refusal. Who a policy lets in is known only where there is a user, so
  the lookup that tells the user does this, which may come after the one that asked the service.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

from instance_lookup.access import authorize
from instance_lookup.cache.reads import Read
from instance_lookup.concurrency.steps import Blocking, Steps, asking
from instance_lookup.exceptions import AccessDenied, CacheError
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from instance_lookup.access import Allows
    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.types import InstanceConfig
    from instance_lookup.users import LookupUser

D = TypeVar("D", bound=Struct)

LetsIn = Callable[["LookupUser", D], "Steps[bool]"]
"""Tells whether a document lets a user in."""


class Refused(AccessDenied):
    """The Config Service itself refused this user."""


class _User(Protocol):
    @property
    def identity(self) -> tuple[bool, str | None]: ...


class Refusals(Generic[D]):
    """Pairs of a user and the id that the Config Service refused them."""

    def __init__(self, ttl: float, cache: TieredCache[D], lets_in: LetsIn[D] | None) -> None:
        """Remember refusals for ``ttl`` seconds.

        ``lets_in`` decides what becomes of a copy in ``cache``. ``None``: a copy lets no user in.
        """
        self._cache = cache
        self._lets_in = lets_in
        self._refused: Expiring[bool] = Expiring(ttl)
        self._untold: Expiring[bool] = Expiring(ttl)
        self.any = self._refused.items
        """Empty while no refusal is remembered."""

    def note(self, user: _User, asked: str) -> None:
        """Remember that the service refused ``asked`` to ``user``."""
        pair = user.identity, asked
        # In this order: lookups in other threads look at "refused" first. One that sees the
        # refusal must find it in "untold", or no lookup would invalidate the copy.
        self._untold.put(pair, True)  # noqa: FBT003  # a set's value
        self._refused.put(pair, True)  # noqa: FBT003

    def __contains__(self, pair: tuple[_User, str]) -> bool:
        user, asked = pair
        return self._refused.get((user.identity, asked)) is not None

    def check(self, user: LookupUser, asked: str) -> Steps[None]:
        """Raise ``Refused`` if the service refused ``asked`` to ``user`` a moment ago."""
        if (user, asked) not in self:
            return
        # "drop" is one step: of lookups that see the refusal together, one goes on.
        if self._lets_in is not None and self._untold.drop((user.identity, asked)):
            reading: Reading[D] = yield Read(self._cache, asked)
            copy = reading.entry.document if reading.entry else None
            if copy is not None and (yield from self._lets_in(user, copy)):
                with suppress(CacheError):
                    yield Blocking(partial(self._cache.invalidate, asked))
        raise Refused(f"The Config Service refused {asked!r}.")


def lets_in(policy: Allows, user: LookupUser, config: InstanceConfig) -> Steps[bool]:
    """Tell whether ``policy``, which is bound to the settings, lets ``user`` have ``config``."""
    try:
        yield from asking(partial(authorize, user, config, policy))
    except AccessDenied:
        return False
    return True
