"""What a look at the keys of an id means, and what is kept of the last one."""

from __future__ import annotations

from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from msgspec import Struct

from instance_lookup.cache.entry import Entry, unpack
from instance_lookup.cache.keys import Keys
from instance_lookup.frozen import hide

if TYPE_CHECKING:
    from instance_lookup.cache.codec import Codec
    from instance_lookup.cache.kinds import Kind
    from instance_lookup.cache.tokens import Parts, Tokens
    from instance_lookup.conf import Settings

D = TypeVar("D", bound=Struct)

_KNOWN = 1024
"""Ids of which something is kept; the one that was used least recently makes room."""
_LENGTH_REMEMBERED = 32_768
"""Characters above which an entry is decoded each time: memory has a bound."""


class _Look(NamedTuple, Generic[D]):
    """A look at the keys of one id. While the next one finds the same, it means the same."""

    found: list[object]
    parts: Parts
    entry: Entry[D]


class Known(Generic[D]):
    """What is kept of one id, so that a hit neither makes its keys nor decodes its entry again."""

    __slots__ = ("keys", "last")

    def __init__(self, kind: Kind[D], asked: str) -> None:
        self.keys = Keys.of(kind, asked)
        self.last: _Look[D] | None = None
        """Each thread reads and swaps it in one step."""


class Seen(NamedTuple, Generic[D]):
    """What a look means."""

    parts: Parts
    entry: Entry[D] | None = None
    """What may be served."""
    problem: str = ""
    """Why something there does not count, as ``events.Rejection`` names it."""


class Looks(Generic[D]):
    """Understands looks at the entries of one kind. It reads nothing itself."""

    def __init__(self, kind: Kind[D], settings: Settings, codec: Codec, tokens: Tokens) -> None:
        """Understand entries of ``kind``, which ``codec`` reads, under what ``tokens`` reads."""
        self._kind, self._codec, self._tokens = kind, codec, tokens
        self._stale_max_age = settings.stale_max_age
        self.known = lru_cache(_KNOWN)(partial(Known[D], kind))

    def understood(self, known: Known[D], asked: str, found: list[object]) -> Seen[D]:
        """Return what it means that this was ``found`` at the keys of the id ``asked``.

        ``known`` is what is kept of the id.
        """
        last, tokens = known.last, self._tokens
        if last is not None and tokens.is_newest(asked, known.keys, last.parts.moments):
            if last.found == found:
                entry = last.entry
                aged = entry.aged(self._stale_max_age, time(), expired=entry.expired)
                return Seen(last.parts, aged)
            if last.found[1:] == found[1:]:
                return self._under(last.parts, known, asked, found)
        return self._under(tokens.look(asked, known.keys, found[1:]), known, asked, found)

    def _under(self, parts: Parts, known: Known[D], asked: str, found: list[object]) -> Seen[D]:
        """Return what it means that an entry was ``found`` under these ``parts``."""
        stored, last = found[0], known.last
        is_known, is_sealed = parts.generation is not None, self._codec.encryption is not None
        if stored is None or parts.blocked_until or not (is_known or is_sealed):
            return Seen(parts, None, parts.problem)
        try:
            if last is not None and last.found[0] == stored:  # under another generation
                entry, is_short = last.entry, True
            else:
                text = self._codec.decode(stored, known.keys.entry)
                entry, is_short = unpack(self._kind, asked, text), len(text) <= _LENGTH_REMEMBERED
        except ValueError:
            return Seen(parts, None, "entry" if is_known else parts.problem)
        now = self._tokens.comparable(entry.generation, known.keys, found, parts)
        counting = entry.under(now, self._stale_max_age, time())
        if counting is not None and is_short and is_known:
            # What is sealed shows nothing.
            kept = found[:] if is_sealed else [*map(hide, found)]
            known.last = _Look(kept, parts, counting)
        is_outdated = counting is None and is_sealed and is_known and not entry.is_of(now)
        return Seen(parts, counting, parts.problem or ("outdated" if is_outdated else ""))
