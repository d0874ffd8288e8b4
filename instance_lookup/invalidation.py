"""Invalidates entries one after another. A failure does not stop the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from instance_lookup.cache.blocks import end_of
from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.outcomes import Failure, check_id, for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Invalidated:
    """One entry, or everything, that was invalidated, expired, blocked or unblocked."""

    kind: str
    """``"instance"`` or ``"project"``."""
    id: str | None
    """``None``: everything, of both kinds."""
    was_cached: bool | None = None
    """``None``: not known."""
    blocked_until: float | None = None
    """Unix time; ``None``: it was not blocked now."""
    was_blocked: bool | None = None
    """Whether there was a block to lift; ``None``: not asked."""

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON; what blocks are about only where one was set."""
        values = {f"{self.kind}_id": self.id, "was_cached": self.was_cached}
        blocks = {"blocked_until": self.blocked_until, "was_blocked": self.was_blocked}
        return values | {name: value for name, value in blocks.items() if value is not None}


def invalidate(
    resolver: InstanceResolver,
    instance_ids: Iterable[str],
    project_ids: Iterable[str] = (),
    *,
    expire: bool = False,
    dry_run: bool = False,
) -> Iterator[Invalidated | Failure]:
    """Invalidate ``instance_ids``, or with ``expire`` mark them stale, and forget ``project_ids``.

    Yields each as it is done, or a failure; raises neither ``CacheError`` nor ``InvalidContext``.
    With ``dry_run`` ids are checked and nothing is changed. ``resolver`` has the cache.
    """
    instance_verb = resolver.cache.expire if expire else resolver.invalidate_cache

    def attempt(kind: str, verb: Callable[[str], bool | None], name: str) -> Invalidated:
        if dry_run:
            return Invalidated(kind, check_id(resolver, name))
        return Invalidated(kind, name, verb(name))

    project_verb = resolver.invalidate_project
    yield from for_each(instance_ids, partial(attempt, "instance", instance_verb))
    yield from for_each(project_ids, partial(attempt, "project", project_verb), "project")


def block(
    resolver: InstanceResolver,
    instance_ids: Iterable[str],
    duration: float,
    *,
    dry_run: bool = False,
) -> Iterator[Invalidated | Failure]:
    """Let no user have ``instance_ids`` for ``duration`` seconds, whatever the service says.

    Yields each as it is done, or a failure. With ``dry_run`` ids are checked and nothing is
    changed. ``resolver`` has the cache. Raises ``ValueError`` for a ``duration`` that is not from
    1 second to 366 days.
    """
    planned = end_of(duration, time())

    def attempt(name: str) -> Invalidated:
        if dry_run:
            return Invalidated("instance", check_id(resolver, name), blocked_until=planned)
        end = resolver.block_instance(name, duration)
        return Invalidated("instance", name, blocked_until=end)

    return for_each(instance_ids, attempt)


def unblock(
    resolver: InstanceResolver, instance_ids: Iterable[str], *, dry_run: bool = False
) -> Iterator[Invalidated | Failure]:
    """Lift the blocks of ``instance_ids``; one that is not blocked is left as it is.

    Yields each as it is done, or a failure. With ``dry_run`` ids are checked and nothing is
    changed. ``resolver`` has the cache.
    """

    def attempt(name: str) -> Invalidated:
        if dry_run:
            return Invalidated("instance", check_id(resolver, name))
        return Invalidated("instance", name, was_blocked=resolver.unblock_instance(name))

    return for_each(instance_ids, attempt)


def parse_duration(text: str) -> float:
    """Return the seconds in ``24h``, ``30m``, ``90s``, ``2d`` or ``3600``. Raise ``ValueError``."""
    if (found := _DURATION.fullmatch(text)) is None:
        raise ValueError(f"a time is written like 24h, 30m, 2d or 3600 (seconds), not {text!r}.")
    number, unit = found.groups()
    return float(int(number) * _SECONDS[unit])


def invalidate_all(resolver: InstanceResolver) -> Invalidated | Failure:
    """Invalidate every instance and project."""
    try:
        resolver.invalidate_all_caches()
    except InstanceLookupError as exc:
        return Failure.of(None, exc)
    return Invalidated("instance", None)
