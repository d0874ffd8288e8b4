from __future__ import annotations

from threading import Barrier, Thread

from instance_lookup.cache.stats import Counters
from instance_lookup.types import CacheStats


def test_counts_start_at_nought() -> None:
    """All counters start at zero."""
    assert Counters().read() == CacheStats()


def test_add_counts_one_field() -> None:
    """Each name is a field of `CacheStats`."""
    counters = Counters()
    for name in ("hits", "misses", "hits"):
        counters.add(name)
    assert counters.read() == CacheStats(hits=2, misses=1)


def test_read_is_a_snapshot() -> None:
    """``read`` returns a snapshot that does not change."""
    counters = Counters()
    before = counters.read()
    counters.add("errors")
    assert (before.errors, counters.read().errors) == (0, 1)


def test_reset_starts_again() -> None:
    """After ``reset`` only later events are counted."""
    counters = Counters()
    counters.add("rejected")
    counters.reset()
    counters.add("evictions")
    assert counters.read() == CacheStats(evictions=1)


def test_threads_lose_no_count() -> None:
    """Every call of every thread is counted."""
    counters, start = Counters(), Barrier(8)

    def work() -> None:
        start.wait(5)
        for _ in range(1000):
            counters.add("hits")

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counters.read().hits == 8000
