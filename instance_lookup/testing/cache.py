"""A cache that fails or is slow when a test says so."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

if TYPE_CHECKING:
    from collections.abc import Iterator


class CacheFaults:
    """What is wrong with a :class:`FaultyCache`, for all threads; ``calls`` is what was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The names of the methods called, in order."""
        self._error: Exception | None = None
        self._failing: frozenset[str] = frozenset()
        self._seconds = 0.0
        self._slow: frozenset[str] = frozenset()
        self._recovered = Event()

    def fail(self, *verbs: str, error: Exception | None = None) -> None:
        """Have these methods (``"get_many"``, ``"set"``, …; none named: all) raise ``error``.

        Without one, ``ConnectionError``, as a Redis that is down.
        """
        self._error = error or ConnectionError("The test says that the cache is down.")
        self._failing = frozenset(verbs)

    def delay(self, seconds: float, *verbs: str) -> None:
        """Have these methods (none named: all) wait first; :meth:`recover` ends the waiting."""
        self._recovered.clear()
        self._seconds = seconds
        self._slow = frozenset(verbs)

    def recover(self) -> None:
        """End all faults, also for calls that are waiting."""
        self._error = None
        self._seconds = 0.0
        self._recovered.set()

    def strike(self, verb: str) -> None:
        """Note a call of the method ``verb``; delay it or fail it as told."""
        self.calls.append(verb)
        if self._seconds and verb in (self._slow or {verb}):
            self._recovered.wait(self._seconds)
        error = self._error
        if error is not None and verb in (self._failing or {verb}):
            # Without the tracebacks of the last time, which would make it grow for ever.
            raise error.with_traceback(None)


_faults: dict[str, CacheFaults] = {}
"""By ``LOCATION``: Django makes a cache object for each thread."""


def _passed_on(verb: str) -> Any:
    """Return a method that does the fault first, then calls that of the cache behind."""

    def method(self: FaultyCache, *args: Any, **kwargs: Any) -> Any:
        self.faults.strike(verb)
        cache = caches[self._alias] if self._own is None else self._own
        return getattr(cache, verb)(*args, **kwargs)

    return method


class FaultyCache(BaseCache):
    """Stand in front of another cache, whose alias is the ``LOCATION``.

    Without one, in front of a local-memory cache of its own. Keys, versions and timeouts are those
    of the cache behind; ``faults`` says what goes wrong.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.faults = _faults.setdefault(location, CacheFaults())
        self._alias = location
        self._own = None if location else LocMemCache("instance_lookup.testing", params)

    def make_key(self, key: str, version: int | None = None) -> str:
        """Return the key of the cache behind: what is sealed belongs there."""
        cache = caches[self._alias] if self._own is None else self._own
        return cache.make_key(key, version)

    add = _passed_on("add")
    get = _passed_on("get")
    set = _passed_on("set")
    touch = _passed_on("touch")
    delete = _passed_on("delete")
    get_many = _passed_on("get_many")
    set_many = _passed_on("set_many")
    delete_many = _passed_on("delete_many")
    has_key = _passed_on("has_key")
    incr = _passed_on("incr")
    clear = _passed_on("clear")


@contextmanager
def faulty_cache(alias: str = "default") -> Iterator[CacheFaults]:
    """Put a :class:`FaultyCache` in front of a cache of the project, and yield its faults.

    ::

        with faulty_cache() as faults:
            faults.fail()
    """
    behind = f"{alias} behind faults {uuid4().hex}"
    faulty = {"BACKEND": "instance_lookup.testing.FaultyCache", "LOCATION": behind}
    both = {**settings.CACHES, behind: settings.CACHES[alias], alias: faulty}
    faults = _faults.setdefault(behind, CacheFaults())
    try:
        with override_settings(CACHES=both):
            yield faults
    finally:
        faults.recover()
        del _faults[behind]
