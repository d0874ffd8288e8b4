"""Invalidates entries one after another. A failure does not stop the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.outcomes import Failure, check_id

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
    work: list[tuple[str, Callable[[str], bool | None], Iterable[str]]] = [
        ("instance", instance_verb, instance_ids),
        ("project", resolver.invalidate_project, project_ids),
    ]
    for kind, verb, names in work:
        for name in dict.fromkeys(names):
            attempt = partial(check_id, name, resolver) if dry_run else partial(verb, name)
            yield _outcome(kind, name, attempt)


def invalidate_all(resolver: InstanceResolver) -> Invalidated | Failure:
    """Invalidate every instance and project."""
    return _outcome("instance", None, resolver.invalidate_all_caches)


def _outcome(
    kind: str, name: str | None, attempt: Callable[[], bool | None]
) -> Invalidated | Failure:
    try:
        return Invalidated(kind, name, attempt())
    except InstanceLookupError as exc:
        return Failure.of(name, exc, kind)
