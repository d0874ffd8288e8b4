"""Which parts of generations are believed: by their tag, or by a proof where a key was removed.

A part is written when it is made and never again: to write it once more, with a tag by another key,
could undo an invalidation that another process makes meanwhile. So where a key other than the first
has made a part, a *proof* is written beside it: a tag of the same part by the first key, under a
key of its own. It is read only where no key of this process has made the part itself, so that to
remove a key from the end of ``ENCRYPTION_KEYS`` empties no cache.

A proof is worth nothing at another place, nor for another part: the tag is over both.
"""

from __future__ import annotations

import math
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, NamedTuple

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.generations import MARGIN
from instance_lookup.cache.keys import as_token
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.newest import Part
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.cache.encryption import Encryption
    from instance_lookup.cache.keyvalue import KeyValue

_PARTS = 20_000
"""Parts of another key that are remembered; the one that was noted first makes room."""
_KEPT = 366 * 86_400
"""Seconds for which one is remembered: for as long as a process may look at the very same part."""


_AHEAD = 30 * 86_400_000
"""Milliseconds by which the clock of the machine that made a part may be ahead of ours."""


class _Other(NamedTuple):
    """A part that is believed, though the first key has not made it."""

    value: str
    is_proved: bool = False
    """Whether this process has written a proof of it."""


class Proofs:
    """Believes parts, and sees to it that they are believed when an older key is removed."""

    def __init__(self, alias: str, life: float, encryption: Encryption) -> None:
        """Believe what ``encryption`` has tagged, or has proofs of, in the cache ``alias``.

        A part is needed for ``life`` seconds after an entry was stored under it.
        """
        self._alias, self._life = alias, life
        self._encryption = encryption
        self._others: Expiring[_Other] = Expiring(_KEPT, limit=_PARTS)

    def tagged(self, key: str, value: str) -> str:
        """Return what to store at a key for a part with this ``value``."""
        return f"{value}t{self._encryption.tag(self._named(key, value))}"

    def authentic(self, key: str, found: object) -> Part | None:
        """Return the part that was ``found`` at a key; ``None``: it is none, or not believed."""
        part, tag = _parsed(found)
        if part is None:
            return None
        place = self._encryption.key_of(tag, self._named(key, part.value))
        known = self._others.get(key) if place or self._others.items else None
        is_known = known is not None and known.value == part.value
        if place and not is_known:
            self._others.put(key, _Other(part.value))
        return part if place is not None or is_known else None

    def learn(self, cache: KeyValue, keys: Sequence[str], found: Sequence[object]) -> bool:
        """Look for proofs of what was ``found`` at ``keys``; tell whether there is a new one.

        What is believed by its tag needs none: nothing is read for it. Raises what ``cache`` does.
        """
        has_learned = False
        for name in self._encryption.names:
            unknown = [
                (key, part.value)
                for key, raw in zip(keys, found, strict=True)
                if (part := _parsed(raw)[0]) is not None and self.authentic(key, raw) is None
            ]
            if not unknown:
                break
            proofs: list[object] = []
            with suppress(*UNREADABLE):  # something else wrote there
                proofs = cache.get_many([_proof_key(name, value) for _, value in unknown])
            for (key, value), proof in zip(unknown, proofs, strict=False):
                tag = (as_token(proof) or "")[1:]
                if self._encryption.key_of(tag, self._named(key, value)) is not None:
                    self._others.put(key, _Other(value))
                    has_learned = True
        return has_learned

    def write(
        self, cache: KeyValue, keys: Sequence[str], values: Sequence[str], *, again: bool
    ) -> None:
        """Prove those of the parts ``values`` at ``keys`` that the first key has not made.

        A proof lives as long as an entry that is stored now may be served, or until its block ends.
        Unless ``again``, what this process has proved before is left out. Raises what ``cache``
        does.
        """
        if not self._others.items:  # nearly always
            return
        for key, value in zip(keys, values, strict=False):
            other = self._others.get(key)
            if other is None or other.value != value or (other.is_proved and not again):
                continue
            tag = self._encryption.tag(self._named(key, value))
            # With a letter in front, as all that we store.
            cache.set(_proof_key(self._encryption.names[0], value), f"g{tag}", self._left(value))
            self._others.put(key, _Other(value, is_proved=True))

    def _named(self, key: str, value: str) -> bytes:
        return key_values[self._alias].place(key) + b"\n" + value.encode()

    def _left(self, value: str) -> int:
        """Return for how many seconds a part with this ``value`` may be needed."""
        part = Part.parse(value)
        end = 0.0 if part is None else part.until or part.freed
        return math.ceil(max(self._life, end - time() + MARGIN))


def _parsed(found: object) -> tuple[Part | None, str]:
    """Return the part that was found at a key, and its tag; ``None``: it is none.

    Those that come after it are made later than it says. It must not leave no room for them: with
    a key that is removed now, someone could have made a last one, never to be invalidated.
    """
    text = None if found is None else as_token(found)
    value, _, tag = (text or "").rpartition("t")
    part = Part.parse(value)
    if part is not None and max(part.at, part.floor) > time() * 1000 + _AHEAD:
        part = None
    return part, tag


def _proof_key(name: str, value: str) -> str:
    """Return the key of the proof of a part, which is random text, by the key of this ``name``."""
    return f"instance_proof:{name}:{value}"
