"""A shared hit with ``ENCRYPTION_KEYS`` against one without, on one Redis, in turn.

*the same* is what most hits are: the cache holds what the process found at its last look.
*rewritten* is the first hit after a fetch by another process: each call finds another entry, which
it decodes. *all new* finds other generations, too, as after an invalidation.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import interleaved, repeated
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.cache.keyvalue import key_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup import InstanceResolver

KILOBYTES = (1, 10)
ENTRIES = 8
"""Entries that a call finds in turn: more than one, so that each is another one than the last."""


def measure(effort: Effort) -> list[Result]:
    core, _ = cores()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        return [_measure(effort, kilobytes, core) for kilobytes in KILOBYTES]


def _measure(effort: Effort, kilobytes: int, core: int) -> Result:
    contenders: dict[str, Callable[[int], object]] = {}
    sealing = (new_encryption_key(),)
    # First of all: the generation of all instances has a tag from here on, for both.
    _same("first", kilobytes, sealing)()
    for name, keys in ("open", ()), ("sealed", sealing):
        contenders[f"{name}, the same"] = repeated(_same(name, kilobytes, keys))
        contenders[f"{name}, rewritten"] = repeated(_rewritten(name, kilobytes, keys))
    contenders["sealed, all new"] = repeated(_all_new(kilobytes, sealing))
    samples = interleaved(contenders, rounds=effort.rounds(40), calls=effort.calls(400))
    return Result(
        title=f"A shared hit that is sealed, {kilobytes} KB",
        unit="µs",
        samples=samples,
        ours=("sealed, the same", "sealed, rewritten", "sealed, all new"),
        against="open, the same",
        bounds=(
            Bound("sealed, the same", 1.1, "open, the same"),
            Bound("sealed, rewritten", 1.1, "open, rewritten"),
        ),
        placement=f"client and server on core {core}",
        notes=_sizes(kilobytes),
    )


def _resolver(instance_id: str, kilobytes: int, keys: tuple[str, ...]) -> InstanceResolver:
    def fetch(_: str) -> bytes:
        return work.body(instance_id, kilobytes=kilobytes)

    return work.resolver(
        fetch, near=False, encryption_keys=keys, cache_ttl=3_000, refresh_ahead=None
    )


def _same(name: str, kilobytes: int, keys: tuple[str, ...]) -> Callable[[], object]:
    instance_id = f"{name}-same-{kilobytes}"
    resolver, context = _resolver(instance_id, kilobytes, keys), work.context(instance_id)
    return lambda: resolver.resolve(context)


def _rewritten(name: str, kilobytes: int, keys: tuple[str, ...]) -> Callable[[], object]:
    """Return a call that finds an entry unlike the one that its process remembers.

    That one is replaced in the memory, by another entry of the same instance: to have it rewritten
    in the cache would cost as much as the read, and make the two look more alike.
    """
    instance_id = f"{name}-rewritten-{kilobytes}"
    resolver, context = _resolver(instance_id, kilobytes, keys), work.context(instance_id)
    key, cache, texts = f"instance_config:{instance_id}", key_values["default"], []
    for _ in range(ENTRIES + 1):  # the last one stays in the cache
        resolver.refresh(instance_id)
        texts.append(cache.get(key))
    known, turn = resolver.cache.tiers.shared._known(instance_id), cycle(texts[:-1])  # noqa: SLF001

    def call() -> object:
        if (last := known.last) is not None:
            known.last = last._replace(found=[next(turn), *last.found[1:]])
        return resolver.resolve(context)

    return call


def _all_new(kilobytes: int, keys: tuple[str, ...]) -> Callable[[], object]:
    instance_id = f"all-new-{kilobytes}"
    resolver, context = _resolver(instance_id, kilobytes, keys), work.context(instance_id)
    known = resolver.cache.tiers.shared._known(instance_id)  # noqa: SLF001

    def call() -> object:
        known.last = None
        return resolver.resolve(context)

    return call


def _sizes(kilobytes: int) -> tuple[str, ...]:
    """Return how many bytes the cache holds of an instance, open and sealed."""
    cache, notes = key_values["default"], []
    for name in ("open", "sealed"):
        instance_id = f"{name}-same-{kilobytes}"
        keys = f"instance_config:{instance_id}", f"instance_generation:{instance_id}"
        entry, part = (len(value) for value in cache.get_many(keys))
        notes.append(
            f"Stored {name}: {entry:,} bytes of entry, {part} of each part of a generation."
        )
    return tuple(notes)
