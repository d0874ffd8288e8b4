"""What the backend of a cache raises, as the one error that this package raises for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.cache import InvalidCacheBackendError

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.exceptions import CacheError, CacheUnwritable, forget_locals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.cache.stats import Counters


class CacheErrors:
    """Builds the errors of one cache alias, and counts them."""

    def __init__(self, alias: str, counters: Counters) -> None:
        self._alias = alias
        self._count = counters.add

    @contextmanager
    def raised_to(
        self, verb: str, asked: str | None, *, counted: bool = True
    ) -> Iterator[KeyValue]:
        """Yield the cache; what it raises is raised as ``CacheError``.

        ``verb`` is what is done to the id ``asked`` (``None``: to all instances). A failure that is
        not ``counted`` shows in no statistics.
        """
        try:
            yield key_values[self._alias]
        except Exception as exc:
            raise self.failure(verb, asked, exc, counted=counted) from exc

    def failure(
        self, verb: str, asked: str | None, exc: Exception, *, counted: bool = True
    ) -> CacheError:
        """Count a failure of the backend, unless not ``counted``, and return the error for it.

        ``verb`` is what was being done to the id ``asked`` (``None``: to all instances) when the
        backend raised ``exc``.
        """
        if isinstance(exc, InvalidCacheBackendError):
            raise exc  # a mistake in the settings, not an outage
        if counted:
            self._count("errors")
        forget_locals(exc)
        what = repr(asked) if asked else "all instances"
        return (CacheUnwritable if verb == "store" else CacheError)(
            f"The cache {self._alias!r} failed to {verb} {what}: {type(exc).__name__}.",
            instance_id=asked,
        )
