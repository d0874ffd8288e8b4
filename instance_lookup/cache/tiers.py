"""The entries of one kind: in this process, and behind that in the cache of all processes.

read → near tier → shared tier → what the Config Service answered while the cache was down
"""

from __future__ import annotations

from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, structs

from instance_lookup import events
from instance_lookup.cache.entry import Freshness, pack, pack_missing, unpack
from instance_lookup.cache.epochs import Epochs
from instance_lookup.cache.near import NearTier
from instance_lookup.cache.outage import OutageBuffer
from instance_lookup.cache.pubsub import LULL, publish
from instance_lookup.cache.reading import Reading
from instance_lookup.cache.shared import SharedTier
from instance_lookup.cache.transactions import OutsideTransaction, outside_transaction
from instance_lookup.concurrency.coalescing import BatchedReads, CoalescedReads
from instance_lookup.exceptions import CacheError, CacheUnwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.health import CacheHealth
    from instance_lookup.cache.kinds import Kind
    from instance_lookup.cache.stats import Counters
    from instance_lookup.conf import Settings
    from instance_lookup.frozen import SecretBytes

D = TypeVar("D", bound=Struct)


class TieredCache(Generic[D]):
    """Reads, stores and invalidates the entries of one kind.

    Reading and storing raise nothing because of the cache: callers go on to the Config Service.
    What manages the cache (``write``, ``invalidate``, ``expire``) raises ``CacheError``.
    """

    def __init__(
        self, kind: Kind[D], settings: Settings, counters: Counters, health: CacheHealth
    ) -> None:
        """Hold the entries of ``kind`` as the ``settings`` say. Does no I/O.

        ``counters`` are those of one resolver, ``health`` is that of the cache for all kinds.
        """
        self.kind, self.ids = kind, settings.id_regex
        self.health = health
        self.shared = SharedTier(kind, settings, counters)
        self._settings = settings
        self._count = counters.add
        self._buffer: OutageBuffer[D] = OutageBuffer(settings, self.shared.known_life)
        self.near: NearTier[D] = NearTier(settings)
        self._epochs = Epochs(self.shared.known_life, self.near, self._buffer)
        self._rejoined = 0
        """``breaker.closings`` when the answers of an outage were last forgotten."""
        self._coalesced = CoalescedReads[Reading[D]]()
        self._batches = BatchedReads[Reading[D]]()

    def read(self, asked: str, *, near: bool = True) -> Reading[D]:
        """Return what is held of an id; write nothing (``Reading.unminted``).

        Without ``near``: in the shared tier. Threads that look there together share one look.
        """
        if near and self.near.size and (entry := self.near.get(asked)) is not None:
            return Reading(None, entry)
        return self._coalesced.get(asked, self.read_shared)

    async def aread(self, asked: str, *, near: bool = True) -> Reading[D]:
        """Return what :meth:`read` does. Coroutines share a look even for different ids."""
        if near and self.near.size and (entry := self.near.get(asked)) is not None:
            return Reading(None, entry)
        return await self._batches.get(asked, self._read_many, self.read_shared)

    def read_again(self, asked: str) -> Reading[D]:
        """Read the shared tier once more, without counting an unusable entry twice."""
        return self.read_shared(asked, again=True, mint=True)

    def read_shared(self, asked: str, *, again: bool = False, mint: bool = False) -> Reading[D]:
        """Read the id ``asked`` in the shared tier: straight on, unless the cache is or was down.

        ``again``: do not count an unusable entry. ``mint``: write the generations that are absent,
        so that a new entry can be stored under them.
        """
        near, breaker = self.near, self.health.breaker
        if not near.is_open:
            near.open(self)
        # Both before the read: it may miss what changes meanwhile, and then is not kept near.
        since, began = self._epochs.of(asked), monotonic()
        is_calm = breaker.is_closed and breaker.closings == self._rejoined
        if not is_calm and not self.health.may_read():
            return self.shared.unread(asked, since, self._buffer.answer(asked))
        try:
            read: Callable[..., Reading[D]] = self.shared.read
            if events.watchers:
                read = self.shared.told_read
            if outside := self._outside:
                read = partial(outside.call, read)
            reading = read(asked, since=since, again=again, mint=mint)
        except CacheUnwritable as exc:  # entries of other ids can still be read
            self.health.unwritable(exc, began)
            reading = self.shared.unread(asked, since, self._buffer.unwritten(asked, None))
            if breaker.wait():  # slowly: its client may have hidden that the read failed, too
                return reading
        except CacheError as exc:
            self.health.failed(exc)
            return self.shared.unread(asked, since, self._buffer.answer(asked))
        if not is_calm or reading.generation is None or self._buffer.is_used:
            return self._reconcile(asked, reading, began)
        if near.size:
            self._put_near(asked, reading, began)
        return reading

    def _read_many(self, ids: Collection[str]) -> dict[str, Reading[D]]:
        """Return the ids that one look finds fresh; none while the cache is down.

        The others get a read of their own, which also finds out whether the cache is up again.
        """
        breaker = self.health.breaker
        if not self.near.is_open:
            self.near.open(self)
        since, began = {asked: self._epochs.of(asked) for asked in ids}, monotonic()
        if not breaker.is_closed:
            return {}
        read = self.shared.told_read_many if events.watchers else self.shared.read_many
        try:
            found = read(since) if (outside := self._outside) is None else outside.call(read, since)
        except CacheError as exc:
            self.health.failed(exc)
            return {}
        if breaker.closings == self._rejoined and not self._buffer.is_used:
            for asked, reading in found.items():
                self._put_near(asked, reading, began)
            return found
        counting = ((asked, self._reconcile(asked, found[asked], began)) for asked in found)
        return {asked: reading for asked, reading in counting if reading.entry}

    def _put_near(self, asked: str, reading: Reading[D], began: float) -> None:
        """Put what the shared tier holds into the near tier, if it is fresh and still counts."""
        if self.near.size and (entry := reading.entry) and entry.freshness is Freshness.FRESH:
            self.near.listen(self)
            self._epochs.keep(asked, reading.since, partial(self.near.put, asked, entry, began))

    def _reconcile(self, asked: str, reading: Reading[D], began: float) -> Reading[D]:
        """Return what counts after an outage: what the cache holds, or what it did not take."""
        self.health.answered()
        if self._rejoined != (closings := self.health.breaker.closings):
            # Answers kept in the outage missed what other processes invalidated meanwhile.
            self._rejoined = closings
            self.forget(None)
        if reading.generation is None or reading.blocked_until:
            return reading
        entry = reading.entry
        if entry is not None and self._buffer.is_gone(asked, entry):
            entry = None
        if entry is not None and entry.freshness is Freshness.FRESH:
            self._buffer.drop(asked)  # the cache holds something newer
            self._put_near(asked, reading, began)
            return reading
        # What the cache could not take while it did not know the id either is of no generation.
        under = None if reading.unminted else reading.generation
        if (unwritten := self._buffer.unwritten(asked, under)) is not None:
            return Reading(under, unwritten, reading.since)
        return structs.replace(reading, entry=entry)

    def store(
        self,
        asked: str,
        body: bytes,
        reading: Reading[D],
        *,
        cached_at: float,
        ttl: float,
        etag: str | None,
    ) -> None:
        """Store the JSON ``body`` of the id ``asked``, fresh for ``ttl`` seconds.

        They count from ``cached_at``, the Unix time at which it was asked for. ``etag`` is the
        service's. ``reading``, from before the call, has the generation to store it under. What the
        cache does not take this process keeps for a moment, so that not each lookup becomes a call.
        """
        generation = reading.generation
        packed = pack(
            self.kind, asked, body, generation=generation, cached_at=cached_at, ttl=ttl, etag=etag
        )
        write = partial(self.write, asked, packed)
        if generation is not None and self.health.takes(write, len(body)):
            # "keep": an answer that is older than a change does not undo it
            self._epochs.keep(asked, reading.since, partial(self._buffer.taken, asked))
        else:
            self._keep(asked, packed, reading.since)

    def store_missing(
        self, asked: str, reading: Reading[D], *, asked_at: float, is_doubtful: bool
    ) -> None:
        """Remember the service's answer that the id ``asked`` does not exist.

        ``reading`` is from before the call, made at ``asked_at`` (Unix time). If the answer
        ``is_doubtful``, a copy that the cache may hold, but that cannot be read now, stays.
        """
        is_last, generation = reading.since == self._epochs.of(asked), reading.generation
        if generation is not None and self.health.takes(
            partial(self._write_missing, asked, generation, asked_at), 0
        ):
            return
        # A cache that cannot be read may hold a copy of this id, or none.
        is_unseen = generation is None and reading.entry is None
        mark = partial(self._buffer.mark_gone, asked, asked_at)
        # Without the mark a copy in the cache would be served again.
        since = self._epochs.change(asked, None if is_unseen and is_doubtful else mark)
        if is_last:
            ttl = self._settings.negative_ttl
            packed = pack_missing(self.kind, asked, generation, cached_at=asked_at, ttl=ttl)
            self._keep(asked, packed, since)

    def write(self, asked: str, packed: SecretBytes) -> None:
        """Write what ``pack`` made, drop what this process holds. Raise ``CacheError``."""
        self.shared.write(asked, packed)
        self._buffer.drop(asked)
        self._epochs.apart(partial(self.near.drop, asked))  # no change: what is under way counts

    def _write_missing(self, asked: str, generation: Generation, asked_at: float) -> None:
        if is_stored := self.shared.write_missing(asked, generation=generation, asked_at=asked_at):
            self._buffer.taken(asked)
        # A cache that swallows its failures may hold a copy, and show it when it is back.
        is_lost, mark = is_stored is None, partial(self._buffer.mark_gone, asked, asked_at)
        self._epochs.change(asked, mark if is_lost else None)
        self._publish(asked)

    def _keep(self, asked: str, packed: SecretBytes, since: int) -> None:
        """Keep an answer in this process, unless something changed ``since``."""
        entry = unpack(self.kind, asked, packed)
        self._epochs.keep(asked, since, partial(self._buffer.keep, asked, entry))

    def invalidate(self, asked: str, until: float | None = None) -> bool:
        """Do what :meth:`SharedTier.invalidate` does, and have all processes forget the id."""
        self.forget(asked)
        reached = self.shared.invalidate(asked, until)
        self._buffer.taken(asked)
        self.forget(asked)  # again: the old entry may have been read meanwhile
        self._publish(asked)
        return reached

    def invalidate_all(self) -> None:
        """Serve nothing of any id, of both kinds, that was stored or fetched so far."""
        self.forget(None)
        self.shared.invalidate_all()
        self.forget(None)  # again: an old entry may have been read meanwhile
        self._publish(None)

    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        self.forget(asked)
        self.shared.expire(asked)
        self.forget(asked)  # again: it may have been read meanwhile
        self._publish(asked)

    def forget(self, asked: str | None) -> None:
        """Drop what this process holds of an id (``None``: any), and what reads under way find."""
        self._epochs.change(asked)

    def hear(self, kind: str | None, asked: str | None) -> None:
        """Forget what another process invalidated."""
        if kind is None:
            self.shared.hear(None)
            self._epochs.change(None, partial(self.near.doubt, LULL))
        elif kind == self.kind.name:
            self.shared.hear(asked)
            self.forget(asked)

    def doubt(self) -> None:
        """Empty the near tier: a change may have been missed. Answers under way still count."""
        self._epochs.apart(self.near.doubt)

    def _publish(self, asked: str | None) -> None:
        """Tell other processes. Where that fails it holds all the same, see ``pubsub``."""
        if not publish(self._settings.cache_alias, self.kind.name, asked):
            self._count("unpublished")

    @cached_property
    def _outside(self) -> OutsideTransaction | None:
        with self.shared.errors.raised_to("read", None):  # also a backend that cannot be made
            return outside_transaction(self._settings.cache_alias)
