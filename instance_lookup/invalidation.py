"""Invalidates entries one after another. A failure does not stop the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.outcomes import Failure, check_id, for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver


@dataclass(frozen=True, slots=True)
class Invalidated:
    """One entry, or everything, that was invalidated or expired."""

    kind: str
    """``"instance"`` or ``"project"``."""
    id: str | None
    """``None``: everything, of both kinds."""
    was_cached: bool | None = None
    """``None``: not known."""

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        return {f"{self.kind}_id": self.id, "was_cached": self.was_cached}


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


def invalidate_all(resolver: InstanceResolver) -> Invalidated | Failure:
    """Invalidate every instance and project."""
    try:
        resolver.invalidate_all_caches()
    except InstanceLookupError as exc:
        return Failure.of(None, exc)
    return Invalidated("instance", None)
