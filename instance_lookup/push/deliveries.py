"""Each delivery has one effect: the cache remembers, for all processes, which ones had theirs."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.exceptions import CacheError, forget_locals
from instance_lookup.push.signature import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED = 2 * TOLERANCE + 60
"""Seconds: a signature can be replayed for twice the tolerance, if the sender's clock is ahead."""
_UNDER_WAY = 10
"""Seconds after which an effect that did not end, since its process did, may be tried again.

It also ends a mark that no process works on: a Redis that hung reads what a client sent it and gave
up on. An effect that takes longer is had twice, which costs a call of the Config Service.
"""
_PENDING, _DONE = "gpending", "gdone"
"""A letter "g" in front, as all that is no JSON: see ``redis_client``."""


class Delivery(Enum):
    """What became of a delivery."""

    DONE = "done"
    """It had its effect now."""
    REPEATED = "repeated"
    """It had its effect before."""
    PENDING = "pending"
    """Another delivery of the same id is having its effect."""


def deliver(delivery_id: str, effect: Callable[[], object], alias: str) -> Delivery:
    """Call ``effect`` unless a delivery of the same id has called it.

    ``alias`` names the cache that remembers. On a cache that keeps nothing by design each delivery
    has its effect. Blocks. Raises ``CacheError``: then it is to be delivered again.
    """
    # A digest: an id may be longer than a key, and what is signed is not for who reads the keys.
    key = f"instance_delivery:{sha256(delivery_id.encode()).hexdigest()}"
    is_ours = _ask(alias, "add", key, _PENDING, _UNDER_WAY)
    if is_ours is None:
        raise CacheError(f"The cache {alias!r} does not tell whether it remembers a delivery.")
    if not is_ours:
        return Delivery.REPEATED if _text(_ask(alias, "get", key)) == _DONE else Delivery.PENDING
    try:
        effect()
    except BaseException:
        with suppress(CacheError):  # else the mark ends by itself
            _ask(alias, "delete", key)
        raise
    # Last. If that fails, or this process ends before it, the effect is had once more: it costs a
    # call of the Config Service. The other way round a change could be lost.
    _ask(alias, "set", key, _DONE, _REMEMBERED)
    return Delivery.DONE


def _ask(alias: str, verb: Literal["add", "get", "set", "delete"], *words: Any) -> Any:
    try:
        return getattr(key_values[alias], verb)(*words)
    except Exception as exc:
        forget_locals(exc)
        raise CacheError(
            f"The cache {alias!r} failed to remember a delivery: {type(exc).__name__}."
        ) from exc


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
