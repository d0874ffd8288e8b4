"""Whom the Config Service itself refused, remembered for a while in this process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from instance_lookup.expiring import Expiring

if TYPE_CHECKING:
    from msgspec import Struct


class _User(Protocol):
    @property
    def identity(self) -> tuple[bool, str | None]: ...


class Refusals:
    """Pairs of a user and what that user was refused. Never shared with other users."""

    def __init__(self, ttl: float) -> None:
        self._refused: Expiring[list[Struct]] = Expiring(ttl)
        self.any = self._refused.items
        """Empty where nobody was refused anything."""

    def add(self, user: _User, asked: str, copy: Struct | None = None) -> None:
        """Remember that ``user`` was refused ``asked``, and the copy that the cache held of it."""
        self._refused.put((user.identity, asked), [] if copy is None else [copy])

    def take_copy(self, user: _User, asked: str) -> Struct | None:
        """Return that copy, once: whoever gets it sees whether it would have let the user in."""
        with suppress(IndexError):
            return (self._refused.get((user.identity, asked)) or []).pop()
        return None

    def __contains__(self, pair: tuple[_User, str]) -> bool:
        user, asked = pair
        return self._refused.get((user.identity, asked)) is not None
