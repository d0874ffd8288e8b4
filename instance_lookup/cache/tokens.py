"""The parts of generations as they are read and written. Here: where no keys are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from instance_lookup.cache.entry import Generation
from instance_lookup.cache.keys import as_token, block_end, new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.cache.blocks import Blocks
    from instance_lookup.cache.keys import Keys, Which
    from instance_lookup.cache.keyvalue import KeyValue


class Parts(NamedTuple):
    """What one look found at the three keys of a generation, as far as it is believed."""

    everything: str | None
    """``None``: unknown, to be replaced."""
    own: str | None
    """``None``: unknown, to be replaced."""
    expiry: str | None
    """Empty: never expired. ``None``: what is there is not believed, and is to be replaced."""
    blocked_until: float = 0.0
    """Unix time; 0: the id is not blocked."""
    problem: str = ""
    """Why a part is not believed, as ``events.Rejection`` names it."""
    moments: tuple[int, int, int] = (0, 0, 0)
    """When each part was made, in Unix milliseconds; 0: that is not known."""
    is_block_lost: bool = False
    """Whether this process knows of a block that is no longer in the cache."""
    generation: Generation | None = None
    """All three; ``None``: unknown, so nothing may be stored."""

    @property
    def compared(self) -> Generation:
        """What is known of it, to compare with: nothing may be stored under it."""
        # No entry has this expiry: each is stale.
        expiry = "-" if self.expiry is None else self.expiry
        return Generation(self.everything or "", self.own or "", expiry)


def whole(everything: str | None, own: str | None, expiry: str | None) -> Generation | None:
    """Return the generation of three parts; ``None``: one of them is unknown."""
    if everything is None or own is None or expiry is None:
        return None
    return Generation(everything, own, expiry)


class New(NamedTuple):
    """A new part, to be written."""

    value: str
    """As entries name it."""
    stored: str
    """What goes into the cache."""
    end: float = 0.0
    """Unix time until which it has to be kept, if that is longer than others; 0: it is not."""
    least: int = 0
    """Parts from before this moment (Unix milliseconds) do not do in its place."""


class Tokens:
    """Parts are random text: all who can write to the cache can set one."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def look(self, asked: str, keys: Keys, found: Sequence[object]) -> Parts:
        """Return what was found at the last three of ``keys``, those of the id ``asked``."""
        everything, own, expiry = found
        end = self._blocks.see(asked, own, expiry)
        token = "" if expiry is None else as_token(expiry) or ""
        values = as_token(everything), as_token(own), token
        return Parts(*values, end, generation=whole(*values))

    def is_newest(self, asked: str, keys: Keys, moments: tuple[int, int, int]) -> bool:
        """Tell whether parts of an id that were believed once, made at ``moments``, still are.

        Not if it was blocked since: whether that is over, a look in full has to say.
        """
        return asked not in self._blocks.known

    def value(self, keys: Keys, which: Which, found: object, least: int = 0) -> str | None:
        """Return the part ``which`` as entries name it, of what was ``found`` at its key.

        ``None``: it is none, or not believed, or from before ``least`` (Unix milliseconds).
        """
        return as_token(found)

    def new(self, asked: str | None, keys: Keys, which: Which, found: Sequence[object]) -> New:
        """Return a part to write for the id ``asked`` where ``found`` is not believed.

        ``which`` names the key. ``found`` is what is at the three keys.
        """
        token = new_token()
        return New(token, token)

    def renewed(
        self, asked: str | None, keys: Keys, which: Which, before: object, until: float | None
    ) -> New:
        """Return a part to write in place of what is there ``before``: an invalidation.

        It blocks the id ``asked`` until ``until`` (Unix time; 0: it does not); ``None``: as the
        part before it does.
        """
        end = block_end(before) if until is None else until
        token = new_token(end)
        return New(token, token, end)

    def has_taken(
        self, keys: Keys, which: Which, before: object, after: object, *, blocks: bool
    ) -> bool:
        """Tell whether the cache has taken a part: ``after`` was read where ``before`` had been.

        Not compared with what was written: an invalidation by another process in between counts,
        unless it has replaced our block (``blocks``) without having seen it.
        """
        return after not in (None, before) and (not blocks or block_end(after) > 0)

    def hear(self, keys: Keys | None) -> None:
        """Note that another process changed what is at ``keys``; ``None``: everything."""

    def learn(self, cache: KeyValue, keys: Sequence[str], found: Sequence[object]) -> bool:
        """Look in the ``cache`` for proofs of parts ``found`` at ``keys`` that are not believed.

        Tell whether one of them is believed now. Raises what the cache raises.
        """
        return False

    def prove(self, cache: KeyValue, keys: Keys, named: str, *, again: bool = True) -> None:
        """See to it that the parts of a generation are believed when older keys are removed.

        ``named`` is the generation as entries name it. Unless ``again``, what this process has done
        before is left out. Raises what the ``cache`` raises.
        """

    def comparable(
        self, named: str, keys: Keys, found: Sequence[object], parts: Parts
    ) -> Generation:
        """Return what to compare an entry with that names the generation ``named``.

        ``found`` is what is at the ``keys`` of its id, the entry first; ``parts`` is what that
        means.
        """
        return parts.compared
