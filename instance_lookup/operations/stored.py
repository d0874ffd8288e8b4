"""What processes report through the cache: its form, its keys, its bounds. No secret is in it.

All of it expires. There is a fixed number of keys, but for the answers of the Config Service, which
have one key for each instance; so a page of them is one ``get_many``, on every backend.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import msgspec
from msgspec import Struct

from instance_lookup.cache.codec import Codec
from instance_lookup.cache.entry import Freshness, freshness
from instance_lookup.frozen import SecretBytes
from instance_lookup.inspection import State
from instance_lookup.operations.condition import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.conf import Settings

T = TypeVar("T", bound=Struct)

SLOTS = 256
"""Processes that report; more of them are not seen."""
SHARDS = 64
"""Parts of the index of instances. A process writes the parts of those that it has called for."""
SHARD_SIZE = 200
"""Instances in one part: 10,000 fit in, though their ids do not spread evenly."""
ANSWERS = 10
"""Answers of the Config Service that are kept of one instance."""
MINUTES = 60
"""Minutes that are kept."""

BEAT_LIFE = 30
"""Seconds after which a process that reports no more is not counted."""
MINUTES_LIFE = MINUTES * 60
SEEN_LIFE = 7 * 86_400
"""Seconds after which an instance that was not asked for is no longer listed."""
ANSWERS_LIFE = 86_400

FASTEST, STEP, BUCKETS = 0.001, 1.5, 24
"""Upper bound of the first bucket of latencies in seconds, the ratio of two bounds, how many."""


class Minute(Struct, omit_defaults=True):
    """What one process, or all of them, did in one minute."""

    minute: int
    """Unix time, in whole minutes."""
    fresh: int = 0
    """Lookups answered from a fresh entry."""
    near: int = 0
    """Those of them that were answered from the memory of the process."""
    stale: int = 0
    """From a stale copy, because the service failed."""
    negative: int = 0
    """"Does not exist", from the cache."""
    missed: int = 0
    """Lookups that the cache had no usable entry for, but for ``stale`` ones."""
    calls: int = 0
    """Calls of the Config Service."""
    failures: int = 0
    """Those without a usable answer."""
    latency: list[int] = []
    """How many of the calls fall into each bucket."""

    def add(self, other: Minute) -> None:
        """Add the numbers of another process."""
        for name in ("fresh", "near", "stale", "negative", "missed", "calls", "failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        longest = max(len(self.latency), len(other.latency))
        padded = [each + [0] * (longest - len(each)) for each in (self.latency, other.latency)]
        self.latency = [one + two for one, two in zip(*padded, strict=True)]

    def count_call(self, seconds: float, *, failed: bool) -> None:
        """Count a call that took so many seconds."""
        self.calls += 1
        self.failures += failed
        if not self.latency:
            self.latency = [0] * BUCKETS
        bound, bucket = FASTEST, 0
        while seconds > bound and bucket < BUCKETS - 1:
            bound, bucket = bound * STEP, bucket + 1
        self.latency[bucket] += 1

    def quantile(self, share: float) -> float | None:
        """Return the latency, in seconds, below which this share of calls was: an estimate."""
        rank, below = share * sum(self.latency), 0.0
        for bucket, count in enumerate(self.latency):
            if count and below + count >= rank:
                low = 0.0 if bucket == 0 else FASTEST * STEP ** (bucket - 1)
                high = FASTEST * STEP**bucket
                return float(low + (high - low) * (rank - below) / count)
            below += count
        return None


class Minutes(Struct, frozen=True):
    """The last hour in one slot: of the process that has it, and of those that had it before."""

    minutes: list[Minute]


class Beat(Struct, frozen=True, kw_only=True):
    """One process, as it was at ``condition.at``."""

    token: str
    """Random: tells which process has the slot."""
    host: str
    pid: int
    started: float
    """Unix time of its first report."""
    version: str
    """Of instance_lookup."""
    settings: str
    """A digest of ``INSTANCE_LOOKUP``: equal where the settings are, secrets left out."""
    condition: Condition
    calls_a_minute: float = 0.0

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.host}:{self.pid}"


class Answer(Struct, frozen=True, kw_only=True):
    """One answer of the Config Service about one instance, or that there was none."""

    at: float
    """Unix time at which it was asked."""
    status: int | None
    outcome: str
    """As in ``events.ServiceCall``."""
    seconds: float
    request_id: str

    @property
    def failed(self) -> bool:
        """Whether it was of no use."""
        return self.outcome not in USABLE


USABLE = frozenset({"ok", "not_modified", "denied", "missing"})
"""Outcomes that are answers."""
EXISTS = frozenset({"ok", "not_modified", "denied", "rejected"})
"""Outcomes that put an instance into the index: made-up ids would push out all others."""


class News(Struct):
    """What a process has to tell of an instance."""

    at: float = 0.0
    """Unix time of its last lookup or call."""
    answers: list[Answer] = []
    """Those that are new, the oldest first."""
    source: str | None = None
    """Of the last lookup that had an answer, as ``Source`` has it."""


class Answers(Struct, frozen=True):
    """The last answers about one instance, the newest first."""

    answers: list[Answer]


class Seen(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance that was looked up, as of when its entry was looked at."""

    id: str
    seen: float
    """Unix time of the last call or lookup that was reported, of any process."""
    name: str | None = None
    owner: str | None = None
    tenant_id: str | None = None
    cached_at: float | None = None
    """Unix time; ``None``: the cache held no usable entry."""
    ttl: float = 0.0
    """Seconds."""
    negative: bool = False
    """Whether the entry says that it does not exist."""
    expired: bool = False
    """Whether it was stale by ``expire``."""
    unreadable: bool = False
    size: int | None = None
    """Bytes in the cache."""
    source: str | None = None
    """Where the last answer to a lookup came from: ``"cache"``, ``"service"``,
    ``"stale_cache"``. It is reported when that becomes a stale copy, or is none any more."""
    outcome: str | None = None
    """Of the last call of the Config Service."""
    failed_at: float | None = None
    """Unix time of the last call without a usable answer."""
    failure: str | None = None
    """Its reason."""

    def state(self, now: float, stale_max_age: float) -> State:
        """Return what a lookup would make of the entry at ``now`` (Unix time).

        ``stale_max_age`` is in seconds.
        """
        if self.unreadable:
            return State.UNREADABLE
        if self.cached_at is None:
            return State.ABSENT
        found = freshness(self.cached_at, self.ttl, stale_max_age, now)
        if self.negative:
            return State.NEGATIVE if found is Freshness.FRESH else State.ABSENT
        if found is Freshness.PURGED:
            return State.ABSENT
        return State.STALE if self.expired else State(found.value)


class Shard(Struct, frozen=True):
    """One part of the index of instances."""

    instances: dict[str, Seen]


def beat_key(slot: int) -> str:
    """Return the key of a process."""
    return f"instance_status:beat:{slot}"


def minutes_key(slot: int) -> str:
    """Return the key of the last hour of a slot."""
    return f"instance_status:minutes:{slot}"


def shard_key(shard: int) -> str:
    """Return the key of a part of the index."""
    return f"instance_status:seen:{shard}"


def answers_key(instance_id: str) -> str:
    """Return the key of the answers about an instance."""
    # A digest: an INSTANCE_ID_PATTERN may allow what is no key, or ids of any length.
    return f"instance_status:answers:{sha256(instance_id.encode()).hexdigest()[:32]}"


def shard_of(instance_id: str) -> int:
    """Return the part of the index that an instance is in."""
    return crc32(instance_id.encode()) % SHARDS


class Form:
    """Between reports and the text in the cache: compressed and sealed as entries are."""

    def __init__(self, settings: Settings) -> None:
        self._codec = Codec(settings)

    def encode(self, report: Struct, key: str) -> str | bytes:
        """Return what to store under ``key``."""
        return self._codec.encode(SecretBytes(msgspec.json.encode(report)), key)

    def decode(self, stored: object, key: str, kind: type[T]) -> T | None:
        """Return the report found under ``key``; ``None``: it is none, or of another release."""
        if stored is None:
            return None
        try:
            return msgspec.json.decode(self._codec.decode(stored, key)[:], type=kind)
        except ValueError:
            return None

    def read_many(self, cache: KeyValue, keys: Sequence[str], kind: type[T]) -> list[T | None]:
        """Return the report under each key, by one look. Raise what the backend raises."""
        values = cache.get_many(keys) if keys else []
        return [self.decode(*each, kind) for each in zip(values, keys, strict=True)]


def newest(seen: Iterable[Seen]) -> dict[str, Seen]:
    """Return the instances that fit into one part of the index: the ones seen last."""
    kept = sorted(seen, key=lambda each: each.seen, reverse=True)[:SHARD_SIZE]
    return {each.id: each for each in kept}
