"""Bytes: of the commands and answers of Redis, and of what it stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.cache.entry import Generation, pack
from instance_lookup.cache.keys import Keys, lease_key, new_token
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.cache.pubsub import _PULSE
from instance_lookup.types import InstanceConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.capacity.plan import Plan
    from benchmarks.capacity.tally import Tally

PREFIX = len(":1:")
"""What Django puts before each key, with no ``KEY_PREFIX``: the version."""
OVERHEAD = 210
"""Bytes that Redis takes for an instance beside its entry: two keys, one generation, and the tables
that they are in. ``--check`` measures it."""
PING = 19
"""Characters of the moment that a PING carries."""
_NIL, _OK, _NUMBER = len("$-1\r\n"), len("+OK\r\n"), len(":1\r\n")


class Sizes:
    """The sizes that follow from a plan. They are the same for each instance, within some bytes."""

    def __init__(self, plan: Plan) -> None:
        self._processes = plan.processes
        asked, kind, token = f"i-{plan.instances - 1}", instance_kind(InstanceConfig), new_token()
        generation = Generation(token, token)
        body = b'"' + b"x" * (plan.document - 2) + b'"'
        packed = pack(
            kind,
            asked,
            body,
            generation=generation,
            cached_at=1_800_000_000.123456,
            ttl=plan.ttl,
            etag='"0123456789abcdef"',
        )
        self.entry = len(packed)
        self._token = _bulk(len(token))
        keys = [PREFIX + len(key) for key in Keys.of(kind, asked)]
        _, _, own, expiry = keys
        life, ttl = len(str(round(plan.stale_max_age))), len(str(round(plan.timeout)))
        lease = PREFIX + len(lease_key(kind, asked, generation))
        self._told = len(f":instance_invalidations{kind.name}:{asked}")
        self._sent = {
            "reads": _command(4, *keys),
            "blocks": _command(4, own, expiry),
            "gets": _command(3, own),
            "stores": _command(3, keys[0], self.entry, 2, life),
            "marks": _command(3, lease, len(token), 2, 2, ttl),
            "expires": _command(6, own, life),
            "deletes": _command(3, lease),
            "publishes": _command(7, self._told),
        }
        self._answered = {
            "reads": len("*4\r\n") + 2 * _NIL + 2 * self._token,
            "found": _bulk(self.entry) - _NIL,
            "blocks": len("*2\r\n") + self._token + _NIL,
            "gets": self._token,
            "stores": _OK,
            "marks": _OK,
            "expires": _NUMBER,
            "deletes": _NUMBER,
            "publishes": _NUMBER + self._processes * (self._told + 40),
        }

    @property
    def pings(self) -> float:
        """``PING`` commands a second: each process proves that it hears of invalidations."""
        return self._processes / _PULSE

    def sent(self, tally: Tally, seconds: float) -> float:
        """Return the bytes that the processes send to Redis in so many seconds."""
        pings = seconds * self.pings * _command(4, PING)
        return pings + _weighed(tally, self._sent)

    def answered(self, tally: Tally, seconds: float) -> float:
        """Return the bytes that Redis sends to the processes in so many seconds."""
        pings = seconds * self.pings * (len("*2\r\n") + _bulk(4) + _bulk(PING))
        return pings + _weighed(tally, self._answered)

    def memory(self, entries: int) -> int:
        """Return the bytes that Redis needs for so many entries."""
        return entries * (self.entry + OVERHEAD)


def _weighed(tally: Tally, sizes: Mapping[str, int]) -> int:
    return sum(size * int(getattr(tally, name)) for name, size in sizes.items())


def _bulk(length: int) -> int:
    """Return how long a string of that length is on the wire (RESP)."""
    return len(f"${length}\r\n") + length + 2


def _command(*lengths: int) -> int:
    """Return how long a command is on the wire, of words of these lengths."""
    return len(f"*{len(lengths)}\r\n") + sum(map(_bulk, lengths))
