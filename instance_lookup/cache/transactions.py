"""Reads of a database cache, kept out of the caller's transaction.

A fetch is stored by another thread, on a connection of its own. A caller who has the cache's table
in a transaction would not see what that stored, or would hold the very rows that it waits for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.core.cache import caches
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import router, transaction

from instance_lookup.concurrency import pools

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class OutsideTransaction:
    """Calls functions that use a database where no transaction of it is open."""

    def __init__(self, database: str) -> None:
        self._database = database

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``function(*args, **kwargs)``. Raises what that raises.

        Within a transaction another thread runs it, on a connection of its own; this one waits.
        """
        if not self._is_inside:
            return function(*args, **kwargs)
        return pools.reads.submit(partial(function, *args, **kwargs)).result()

    def after(self, note: Callable[[], object]) -> None:
        """Call ``note`` when others can see what was just written: after the commit, if any."""
        if self._is_inside:
            transaction.on_commit(note, using=self._database)
        else:
            note()

    @property
    def _is_inside(self) -> bool:
        return bool(transaction.get_connection(self._database).in_atomic_block)


def outside_transaction(alias: str) -> OutsideTransaction | None:
    """Return what has to call the reads of a cache alias; ``None`` if it is not in a database."""
    cache = caches[alias]
    if not isinstance(cache, BaseDatabaseCache):
        return None
    return OutsideTransaction(router.db_for_write(cache.cache_model_class))
