"""What the cache holds of an instance, without changing anything there and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from instance_lookup.cache.blocks import moment
from instance_lookup.cache.entry import Entry, Freshness
from instance_lookup.cache.peeks import peek_many
from instance_lookup.exceptions import CacheError
from instance_lookup.frozen import SecretDict
from instance_lookup.outcomes import Failure, Listing, check_id, for_each
from instance_lookup.types import Shown, fields_shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from instance_lookup.cache.reading import Peek
    from instance_lookup.resolver import InstanceResolver
    from instance_lookup.types import InstanceConfig


class State(StrEnum):
    """What a lookup would make of what is stored."""

    FRESH = "fresh"
    """Serve it."""
    STALE = "stale"
    """Ask the Config Service; serve it if that fails."""
    NEGATIVE = "negative"
    """Answer that the instance does not exist."""
    BLOCKED = "blocked"
    """Refuse every user, whatever the Config Service says."""
    ABSENT = "absent"
    """Ask the Config Service."""
    UNREADABLE = "unreadable"
    """Ask the Config Service: the entry is of another id or format, or its key is not known."""


class IdFrom(StrEnum):
    """Where the id of an inspected instance comes from."""

    ARGUMENT = "argument"
    """The caller named it."""
    LIST = "list"
    """The Config Service listed it."""
    CACHE = "cache"
    """The cache holds it; whether the Config Service knows it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the cache holds of one instance. Times are in seconds."""

    instance_id: str
    """The id that was asked for."""
    state: State
    size: int | None = None
    """Bytes of the stored value; ``None`` where there is none, or where it is not text."""
    age: float | None = None
    """Since the Config Service was asked."""
    ttl_left: float | None = None
    """Until it is stale."""
    purged_in: float | None = None
    """Until it is not served any more, even if the Config Service fails."""
    blocked_until: float | None = None
    """Unix time; ``None``: it is not blocked."""
    generation: str | None = None
    """The generation that it was stored under."""
    owner: str | None = None
    """The ``user_id`` of the owner."""
    api_keys: tuple[str, ...] = ()
    """The names only."""
    config: dict[str, Any] | None = field(default=None, repr=False)
    """The configuration, masked."""
    note: str = ""
    """What else there is to say, in words."""
    id_from: IdFrom = IdFrom.ARGUMENT

    def as_dict(self, *, show_config: bool = False) -> dict[str, Any]:
        """Return the values as a dict for JSON; the config only with ``show_config``."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        config = values.pop("config")
        return values | {"config": config} if show_config else values


class Survey:
    """What the cache holds of all instances that the Config Service lists.

    Where the list fails or is missing, iterating goes on with the ids that the cache itself holds.
    ``listing.failure`` then says why, and ``cache_tells`` whether the cache could tell: Redis and
    Valkey can.
    """

    def __init__(self, resolver: InstanceResolver) -> None:
        self._resolver = resolver
        self.listing = Listing(resolver)
        self.cache_tells: bool | None = None
        """``None``: it was not asked, or it failed to answer."""

    def __iter__(self) -> Iterator[Inspection | Failure]:
        listed: set[str | None] = set()
        for outcome in inspect(self._resolver, self.listing, id_from=IdFrom.LIST):
            listed.add(outcome.id if isinstance(outcome, Failure) else outcome.instance_id)
            yield outcome
        if self.listing.failure:
            yield from self._held(listed)

    def _held(self, listed: set[str | None]) -> Iterator[Inspection | Failure]:
        try:
            ids = self._resolver.cache.tiers.shared.stored_ids()
        except CacheError as exc:
            yield Failure.of(None, exc)
            return
        self.cache_tells = ids is not None
        # What is no id is not ours, or is from another INSTANCE_ID_PATTERN: it is never served.
        held = filter(self._resolver.selector.is_id, {*(ids or ())} - listed)
        yield from inspect(self._resolver, sorted(held), id_from=IdFrom.CACHE)


class StaleOnly:
    """Those ids whose copy in the cache is stale, and a failure where that is not known.

    Each is looked at when it is needed. ``skipped`` counts the others: fresh, absent, blocked, or
    known not to exist.
    """

    def __init__(self, resolver: InstanceResolver, instance_ids: Iterable[str]) -> None:
        self._resolver = resolver
        self._ids = instance_ids
        self.skipped = 0

    def __iter__(self) -> Iterator[str | Failure]:
        for found in inspect(self._resolver, self._ids):
            if isinstance(found, Failure):
                yield found
            elif found.state is State.STALE:
                yield found.instance_id
            else:
                self.skipped += 1


def inspect(
    resolver: InstanceResolver,
    instance_ids: Iterable[str],
    *,
    id_from: IdFrom = IdFrom.ARGUMENT,
) -> Iterator[Inspection | Failure]:
    """Yield what the cache of ``resolver`` holds of each instance, or why that is not known.

    Of ``instance_ids``, each is inspected once. ``id_from`` says where they come from; it is
    repeated in each inspection.
    """

    def look(instance_id: str) -> Inspection:
        check_id(resolver, instance_id)
        return replace(inspect_one(resolver, instance_id), id_from=id_from)

    return for_each(instance_ids, look)


def inspect_one(resolver: InstanceResolver, instance_id: str) -> Inspection:
    """Return what the cache holds of one instance. Raise ``CacheError``."""
    return tell_of(resolver, instance_id, resolver.cache.tiers.shared.peek(instance_id))


def inspect_page(resolver: InstanceResolver, instance_ids: Sequence[str]) -> list[Inspection]:
    """Return what the cache holds of each instance, by one call of it. Raise ``CacheError``."""
    found = peek_many(resolver.cache.tiers.shared, instance_ids)
    return [tell_of(resolver, instance_id, peek) for instance_id, peek in found.items()]


def tell_of(
    resolver: InstanceResolver, instance_id: str, found: Peek[InstanceConfig]
) -> Inspection:
    """Return the inspection of what a look at the cache has ``found`` of an instance.

    The age at which it is purged comes from the settings of ``resolver``.
    """
    size, entry = _size(found.stored), found.entry
    if found.blocked_until:
        return Inspection(
            instance_id=instance_id,
            state=State.BLOCKED,
            size=size,
            blocked_until=found.blocked_until,
            note=f"blocked until {moment(found.blocked_until)}",
        )
    if found.unreadable:
        return Inspection(instance_id=instance_id, state=State.UNREADABLE, size=size)
    if entry is None:
        note = "" if found.stored is None else "what is stored was invalidated, or is too old"
        return Inspection(instance_id=instance_id, state=State.ABSENT, size=size, note=note)
    now = time()
    age = now - entry.cached_at
    inspection = Inspection(
        instance_id=instance_id,
        state=_state(entry),
        size=size,
        age=round(age, 3),
        ttl_left=round(entry.ttl_remaining(now), 3),
        generation=entry.generation,
    )
    if (config := entry.document) is None:  # it does not exist
        return inspection
    return replace(
        inspection,
        purged_in=round(max(0.0, resolver.settings.stale_max_age - age), 3),
        owner=config.metadata.owner,
        api_keys=tuple(sorted(config.api_keys)),
        config=masked(config),
    )


def masked(config: InstanceConfig) -> dict[str, Any]:
    """Return a configuration to look at.

    Masked are the values of API keys, user, password and query of URLs, and all fields that a
    project's own class adds: which of those are secret is not known here.
    """
    shown: dict[str, Any] = _visible(config)
    return shown


def _visible(value: Any) -> Any:
    if isinstance(value, Shown):
        return {name: _visible(each) for name, each in fields_shown(value)}
    if isinstance(value, SecretDict):
        return value.shown()
    if isinstance(value, Mapping):
        return {name: _visible(each) for name, each in value.items()}
    return msgspec.to_builtins(value)


def _state(entry: Entry[InstanceConfig]) -> State:
    if entry.document is not None:
        return State(entry.freshness.value)
    # That it does not exist is never served stale.
    return State.NEGATIVE if entry.freshness is Freshness.FRESH else State.ABSENT


def _size(stored: object) -> int | None:
    if isinstance(stored, str):
        return len(stored.encode())
    return len(stored) if isinstance(stored, bytes) else None
