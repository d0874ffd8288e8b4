"""Reads of a database cache, kept out of the transaction of whoever asks.

A fetch is stored by another thread, on a connection of its own. Whoever has the cache's table in
his transaction would not see what that stored, or would hold the very rows that it waits for.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.core.cache import caches
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import router, transaction

from instance_lookup.workers import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_reads = DaemonPool("instance-lookup-read", max_workers=8, idle_seconds=0.5)


class OutsideTransaction:
    """Calls functions that use a cache alias where no transaction of its database is open."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``."""
        if self._database is None:
            return function(*args, **kwargs)
        if not transaction.get_connection(self._database).in_atomic_block:
            return function(*args, **kwargs)
        return _reads.submit(partial(function, *args, **kwargs)).result()

    @cached_property
    def _database(self) -> str | None:
        cache = caches[self._alias]
        if not isinstance(cache, BaseDatabaseCache):
            return None
        return router.db_for_write(cache.cache_model_class)
