"""The parts of generations where ``ENCRYPTION_KEYS`` are set: made with a key, or not believed.

A part is stored with a tag, which proves that someone with a key made it for this very place. What
has none, and no proof beside it (see ``proofs``), is as absent. So is a part that is older than one
that this process has seen, written or heard of: someone has put it back. (A failover to a replica
that lags does so, too.)
"""

from __future__ import annotations

import re
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from instance_lookup.cache.codec import is_former
from instance_lookup.cache.entry import CLOCK_SKEW, Generation
from instance_lookup.cache.generations import MARGIN
from instance_lookup.cache.keys import EVERYTHING, as_token
from instance_lookup.cache.newest import Newest, Part, new_part
from instance_lookup.cache.proofs import Proofs
from instance_lookup.cache.tokens import New, Parts, Tokens, whole
from instance_lookup.cache.transactions import outside_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.cache.blocks import Blocks
    from instance_lookup.cache.codec import Codec
    from instance_lookup.cache.encryption import Encryption
    from instance_lookup.cache.keys import Keys, Which
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.conf import Settings

_FORMER = re.compile(r"g[0-9a-f]{16}")
"""A part as the release before wrote it, or one without keys."""


class SealedTokens(Tokens):
    """Parts with tags, and what this process knows of the newest ones."""

    def __init__(self, alias: str, life: float, encryption: Encryption, blocks: Blocks) -> None:
        """Read and write the parts in the cache ``alias``, whose entries live ``life`` seconds.

        ``encryption`` makes and checks the tags, ``blocks`` are those that this process knows of.
        """
        super().__init__(blocks)
        self._alias = alias
        self._proofs = Proofs(alias, life, encryption)
        self._newest = Newest(life)

    def look(self, asked: str, keys: Keys, found: Sequence[object]) -> Parts:
        """Return what was found at the last three of ``keys``, those of the id ``asked``."""
        everything, own, expiry = map(self._proofs.authentic, keys[1:], found)
        pairs = zip(found, (everything, own, expiry), strict=True)
        is_forged = any(raw is not None and part is None for raw, part in pairs)
        # Where it is absent, the newest that is known: to delete it is not to undo it.
        if expiry is None and found[2] is None:
            expiry = self._newest.of(keys.expiry)
        moments = _at(everything), _at(own), _at(expiry)
        old = self._outdated(keys, moments, 0 if expiry is None else expiry.floor)
        everything = None if "everything" in old else everything
        own = None if "own" in old else own
        expiry = None if "expiry" in old else expiry
        for key, part in zip(keys[1:], (everything, own, expiry), strict=True):
            if part is not None:
                self._newest.see(key, part)
        is_unknown = expiry is None and found[2] is not None
        values = (
            everything and everything.value,
            own and own.value,
            None if is_unknown else "" if expiry is None else expiry.value,
        )
        end, is_lost = self._block(asked, own, None if found[2] is None else expiry)
        problem = "generation" if is_forged else "replayed" if old else ""
        return Parts(*values, end, problem, moments, is_lost, whole(*values))

    def is_newest(self, asked: str, keys: Keys, moments: tuple[int, int, int]) -> bool:
        """Tell whether parts of an id that were believed once, made at ``moments``, still are.

        Not if it was blocked since: a block is remembered for longer than the parts are.
        """
        return self._newest.is_newest(keys, moments) and asked not in self._blocks.known

    def value(self, keys: Keys, which: Which, found: object, least: int = 0) -> str | None:
        """Return the part ``which`` as entries name it, of what was ``found`` at its key.

        ``None``: it is none, or not believed, or from before ``least`` (Unix milliseconds).
        """
        key = getattr(keys, which)
        part = self._newest_of(key, found)
        if part is None or part.at < least:
            return None
        self._newest.see(key, part)
        return part.value

    def new(self, asked: str | None, keys: Keys, which: Which, found: Sequence[object]) -> New:
        """Return a part to write for the id ``asked`` where ``found`` is not believed.

        ``which`` names the key. ``found`` is what is at the three keys. Values of the release
        before that name the part without a tag that is there go on to count: they may have to be
        served while the service is down.
        """
        key = getattr(keys, which)
        raw = found[keys[1:].index(key)]
        least = max(self._newest.at(key), self._newest.heard(key))
        if which == "own":
            expiry = self._proofs.authentic(keys.expiry, found[2]) or self._newest.of(keys.expiry)
            least = max(least, 0 if expiry is None else expiry.floor)
        # Where an old part was put back, what this process knows: one that took an old block for
        # a block has to learn that it is lifted.
        old = self._newest_of(key, raw) or self._newest.of(key)
        freed, was = 0.0 if old is None else old.freed, self._former(key, raw)
        return self._new(keys, which, least=least, freed=freed, was=was)

    def renewed(
        self, asked: str | None, keys: Keys, which: Which, before: object, until: float | None
    ) -> New:
        """Return a part to write in place of what is there ``before``: an invalidation.

        It blocks the id ``asked`` until ``until`` (Unix time; 0: it lifts the block); ``None``: as
        the part before it does, or as this process knows.
        """
        key = getattr(keys, which)
        old = self._newest_of(key, before) or self._newest.of(key)
        least = max(_at(old) + 1, self._newest.at(key), self._newest.heard(key))
        freed = 0.0 if old is None else old.freed
        known = 0.0 if asked is None else self._known_end(asked, _at(old) if freed else 0)
        end = max(known, 0.0 if old is None else old.until)
        if until is None:
            return self._new(keys, which, least=least, until=end, freed=freed)
        # For as long as the block would have lasted: a process that knows of it, and has no look
        # at the id for a while, must find that it is lifted.
        return self._new(keys, which, least=least, until=until, freed=max(end, freed))

    def has_taken(
        self, keys: Keys, which: Which, before: object, after: object, *, blocks: bool
    ) -> bool:
        """Tell whether the cache has taken a part: ``after`` was read where ``before`` had been."""
        key = getattr(keys, which)
        part = self._newest_of(key, after)
        if after == before or part is None:
            return False
        # Until a transaction ends its lookups find the part of before, which is no replay then.
        note = partial(self._newest.see, key, part)
        outside = outside_transaction(self._alias)
        note() if outside is None else outside.after(note)
        return not blocks or part.until > 0

    def hear(self, keys: Keys | None) -> None:
        """Note that another process changed what is at ``keys``; ``None``: everything."""
        at = int((time() - CLOCK_SKEW) * 1000)
        self._newest.hear(EVERYTHING if keys is None else keys.own, at)

    def learn(self, cache: KeyValue, keys: Sequence[str], found: Sequence[object]) -> bool:
        """Look in the ``cache`` for proofs of parts ``found`` at ``keys`` that are not believed.

        Tell whether one of them is believed now. Raises what the cache raises.
        """
        return self._proofs.learn(cache, keys, found)

    def prove(self, cache: KeyValue, keys: Keys, named: str, *, again: bool = True) -> None:
        """See to it that the parts of a generation are believed when older keys are removed.

        ``named`` is the generation as entries name it. Unless ``again``, what this process has done
        before is left out. Raises what the ``cache`` raises.
        """
        self._proofs.write(cache, keys[1:], named.split("."), again=again)

    def comparable(
        self, named: str, keys: Keys, found: Sequence[object], parts: Parts
    ) -> Generation:
        """Return what to compare an entry with that names the generation ``named``.

        ``found`` is what is at the ``keys`` of its id, the entry first; ``parts`` is what that
        means. A part without a tag counts for an entry of the release before, and for no other: it
        has been encrypted together with the name of that part.
        """
        if not is_former(found[0]):
            return parts.compared
        compared = []
        rows = zip(named.split("."), keys[1:], found[1:], parts[:3], parts.compared, strict=False)
        for name, key, raw, value, part in rows:
            names = {self._former(key, raw)}
            if value is not None and (known := self._proofs.authentic(key, raw)):
                # In full: a process of that release has stored the entry since.
                names = {known.was, as_token(raw) or ""}
            compared.append(name if name and name in names else part)
        return Generation(*compared) if len(compared) == 3 else parts.compared

    def _new(self, keys: Keys, which: Which, *, least: int, **marks: Any) -> New:
        key = getattr(keys, which)
        at = max(int(time() * 1000), least, self._newest.at(key) + 1)
        floor = 0
        if which == "expiry":
            known = self._newest.of(key)
            floor = max(self._newest.at(keys.own), 0 if known is None else known.floor)
        part = new_part(at, floor=floor, **{"until": 0.0, "freed": 0.0, "was": "", **marks})
        stored = self._proofs.tagged(key, part.value)
        return New(part.value, stored, part.until or part.freed, least)

    def _newest_of(self, key: str, found: object) -> Part | None:
        part = self._proofs.authentic(key, found)
        return None if part is None or part.at < self._newest.at(key) else part

    def _former(self, key: str, found: object) -> str:
        """Return a part without a tag that may be of the release before; empty: there is none.

        After the first part with a tag, and once the id was invalidated, there is none.
        """
        text = None if found is None else as_token(found)
        if text is None or not _FORMER.fullmatch(text):
            return ""
        return "" if self._newest.of(key) or self._newest.heard(key) else text

    def _outdated(self, keys: Keys, moments: tuple[int, int, int], floor: int) -> set[str]:
        """Return which of the parts made at these ``moments`` are older than others seen; 0: none.

        An expiry is newer than the own part that it came with (its ``floor``).
        """
        newest, (everything, own, expiry) = self._newest, moments
        old = set()
        if everything and everything < max(newest.at(EVERYTHING), newest.heard(EVERYTHING)):
            old.add("everything")
        if expiry and expiry < newest.at(keys.expiry):
            old.add("expiry")
        # What was heard of may be a change of either part.
        least = max(newest.at(keys.own), floor)
        if own and (own < least or max(own, expiry) < newest.heard(keys.own)):
            old.add("own")
        return old

    def _block(self, asked: str, own: Part | None, expiry: Part | None) -> tuple[float, bool]:
        """Return the Unix time until which an id is blocked (0: it is not), and if that is lost.

        ``own`` and ``expiry`` are what is in the cache. A block that this process knows of ends by
        itself, or by a newer part that says so. It is not lifted by deleting the parts, nor by a
        process that does not know of it and makes new ones.
        """
        parts = [part for part in (own, expiry) if part is not None]
        end, at = max(((part.until, part.at) for part in parts), default=(0.0, 0))
        if end > time():
            self._blocks.remember(asked, end, at)
            return end, False
        known = self._known_end(asked, max((part.at for part in parts if part.freed), default=0))
        return known, known > 0

    def _known_end(self, asked: str, freed_at: int) -> float:
        """Return until when an id is blocked as this process knows; 0: it is not.

        It was just read that a block was lifted at ``freed_at`` (Unix milliseconds; 0: it was not).
        """
        if freed_at > self._blocks.since(asked):
            self._blocks.remember(asked, 0.0)
        return self._blocks.until(asked)


def _at(part: Part | None) -> int:
    return 0 if part is None else part.at


def tokens_for(settings: Settings, codec: Codec, blocks: Blocks) -> Tokens:
    """Return what reads and writes the parts of generations in the cache of the ``settings``.

    ``codec`` seals its entries or not, ``blocks`` are those that this process knows of.
    """
    if codec.encryption is None:
        return Tokens(blocks)
    life = settings.stale_max_age + MARGIN
    return SealedTokens(settings.cache_alias, life, codec.encryption, blocks)
