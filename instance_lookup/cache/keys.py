"""Under which keys an entry and its generations are kept, and what is found there. All pure."""

from __future__ import annotations

import math
import re
import secrets
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.kinds import Kind

EVERYTHING = "instance_generation"
"""Key of the generation of all entries, of both kinds."""
_THROTTLE_KEYS_KEPT = 16_384
_SAFE = re.compile(r"[!-~]{1,150}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNTIL = "guntil"
_BLOCK = re.compile(
    _UNTIL + r"([0-9]{1,10})g[0-9a-f]{16,28}(?:o[0-9a-f]{12})?(?:w[0-9a-f]{16})?(?:t[0-9a-f]{32})?"
)
"""A part of a generation that blocks its id, with or without a tag (see ``newest``). To a release
that knows no blocks it is any other. Its end has as many digits as there are dates for."""
Which = Literal["everything", "own", "expiry"]
"""A part of a generation, and the field of :class:`Keys` that names its key."""


class Keys(NamedTuple):
    """The keys that one read takes together."""

    entry: str
    everything: str
    own: str
    expiry: str

    @classmethod
    def of(cls, kind: Kind[Any], asked: str) -> Self:
        """Return the keys of an id."""
        name = _safe(asked)
        return cls(
            f"{kind.entry_key}:{name}",
            EVERYTHING,
            f"{kind.generation_key}:{name}",
            f"{kind.expiry_key}:{name}",
        )


def lease_key(kind: Kind[Any], asked: str, under: Generation) -> str:
    """Return the key of the lease, which lets one process of all fetch a document.

    ``kind`` tells instances from projects, ``asked`` is the id. ``under`` is the generation that
    was read before the fetch: after an invalidation there is another lease.
    """
    # All of it made safe, not the id alone: it is no longer than the keys of generations are, so
    # it fits behind every KEY_PREFIX that they fit behind.
    return f"{kind.name}_lease:{_safe(f'{asked}:{under.everything}.{under.own}')}"


@lru_cache(_THROTTLE_KEYS_KEPT)
def throttle_key(name: str, instance_id: str) -> str:
    """Return the key under which the calls of an instance are counted, for the limit ``name``."""
    # What an id may hold is up to the site: without its ":" no two pairs have one key.
    owner = quote(instance_id, errors="surrogatepass")
    return f"instance_throttle:{_safe(f'{owner}:{name}')}"


def as_token(value: object) -> str | None:
    """Return a part of a generation as read, text or bytes; ``None`` for what cannot be one."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    # The text itself, where the value is hidden from those who look at it.
    return value[:] if isinstance(value, str) and value.isalnum() else None


def new_token(blocked_until: float = 0.0) -> str:
    """Return a random part for a new generation, which blocks its id until that Unix time."""
    # A letter in front: django-redis returns a number for text that is only digits.
    block = f"{_UNTIL}{math.ceil(blocked_until)}" if blocked_until else ""
    return f"{block}g{secrets.token_hex(8)}"


def block_end(*parts: object) -> float:
    """Return the Unix time until which parts of a generation, as read, block their id; 0: none."""
    end = 0.0
    for part in parts:
        # Cheap: each read that is no hit comes here, and blocks are rare.
        if isinstance(part, str | bytes) and part[: len(_UNTIL)] in (_UNTIL, _UNTIL.encode()):
            block = _BLOCK.fullmatch(as_token(part) or "")
            end = max(end, float(block[1])) if block else end
    return end


def is_digest(name: str) -> bool:
    """Tell whether the last part of a key may be a digest of the id instead of the id."""
    return _DIGEST.fullmatch(name) is not None


def _safe(name: str) -> str:
    """Return a name, or a digest of one that is no key: memcached takes 250 visible characters.

    Were two ids to have one key, they would share invalidations and nothing else: an entry names
    the id that it is of.
    """
    if _SAFE.fullmatch(name):
        return name
    return sha256(name.encode(errors="surrogatepass")).hexdigest()
