"""Whom the Config Service itself refused, remembered for a while in this process."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance_lookup.users import LookupUser

_LIMIT = 10_000


class Refusals:
    """Pairs of a user and what he was refused. Bounded; never shared with other users."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._lock = Lock()
        self.until: OrderedDict[tuple[bool, str | None, str], float] = OrderedDict()
        """Until when; to be looked at for whether there is any."""

    def add(self, user: LookupUser, asked: str) -> None:
        """Remember that ``user`` was refused ``asked``."""
        key = (user.is_service, user.user_id, asked)
        with self._lock:
            self.until[key] = monotonic() + self._ttl
            self.until.move_to_end(key)
            if len(self.until) > _LIMIT:
                self.until.popitem(last=False)

    def __contains__(self, pair: tuple[LookupUser, str]) -> bool:
        user, asked = pair
        return monotonic() < self.until.get((user.is_service, user.user_id, asked), 0.0)
