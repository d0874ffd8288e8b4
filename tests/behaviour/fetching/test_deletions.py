from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.cache.stats import Counters
from instance_lookup.conf import build_settings
from instance_lookup.fetching.deletions import BELIEVED, Deletions, Fate
from instance_lookup.fetching.reasons import EVERYTHING_GONE
from instance_lookup.fetching.service_health import ServiceHealth

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from threading import Lock


@pytest.fixture
def deletions() -> Deletions:
    return Deletions()


def gone(deletions: Deletions, *names: str) -> list[Fate]:
    return [deletions.decide(name, 1.0) for name in names]


def test_three_in_a_row_are_believed(deletions: Deletions) -> None:
    """Three deletions in a row are believed, and no more than three, of any ids."""
    assert BELIEVED == 3
    assert gone(deletions, "a", "b", "c", "d", "e") == [Fate.DROP] * 3 + [Fate.KEEP] * 2


def test_one_id_counts_once(deletions: Deletions) -> None:
    """Two deletions of one id that were under way together count once."""
    assert gone(deletions, "a", "a", "a") == [Fate.DROP, Fate.DROP_AGAIN, Fate.DROP_AGAIN]
    assert gone(deletions, "b", "c", "d") == [Fate.DROP, Fate.DROP, Fate.KEEP]


def test_id_that_was_believed_stays_so(deletions: Deletions) -> None:
    """A late answer for an id that was believed is no further deletion."""
    gone(deletions, "a", "b", "c", "d")
    assert gone(deletions, "c") == [Fate.DROP_AGAIN]


def test_another_copy_of_an_id_is_told_again(deletions: Deletions) -> None:
    """A copy stored again may be dropped again, and that does not count as a further id."""
    gone(deletions, "a", "b", "c")
    assert deletions.decide("a", 2.0) is Fate.DROP
    assert gone(deletions, "d") == [Fate.KEEP]


def test_document_ends_all_doubt(deletions: Deletions) -> None:
    """A document shows that the service is well: the next three deletions are believed again."""
    gone(deletions, "a", "b", "c", "d")
    assert deletions.note_document(deletions.drops)
    assert gone(deletions, "d", "e", "f", "g") == [Fate.DROP] * 3 + [Fate.KEEP]


def test_document_asked_for_before_a_drop_does_not_count(deletions: Deletions) -> None:
    """A document that was asked for before the deletions does not show that the service is well."""
    before = deletions.drops
    gone(deletions, "a", "b", "c")
    assert not deletions.note_document(before)
    assert gone(deletions, "d") == [Fate.KEEP]


class Announced:
    """A lock that sets an event before a thread has to wait for it."""

    def __init__(self, lock: Lock, waits: Event) -> None:
        self._lock, self._waits = lock, waits

    def __enter__(self) -> None:
        if self._lock.locked():
            self._waits.set()
        assert self._lock.acquire(timeout=5)

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


class Interrupted(dict[Hashable, float]):
    """Dropped copies. Calls ``then``, once, between "may one more be dropped" and "count it"."""

    def __init__(self, then: Callable[[], None], dropped: dict[Hashable, float]) -> None:
        super().__init__(dropped)
        self._then: Callable[[], None] | None = then

    def get(self, *args: Any) -> Any:
        then, self._then = self._then, None
        if then:
            then()
        return super().get(*args)


def test_two_at_once_drop_no_more_than_three(deletions: Deletions) -> None:
    """The second 404 comes while the first has found room for one drop, and not counted it yet."""
    gone(deletions, "a", "b")
    second: list[Future[Fate]] = []
    waits_or_is_decided = Event()

    def interrupt() -> None:
        second.append(pool.submit(deletions.decide, "d", 1.0))
        second[0].add_done_callback(lambda _: waits_or_is_decided.set())
        assert waits_or_is_decided.wait(5)

    deletions._lock_of_process = Announced(deletions._lock, waits_or_is_decided)  # type: ignore[assignment]
    deletions._dropped = Interrupted(interrupt, deletions._dropped)
    with ThreadPoolExecutor(1) as pool:
        first = deletions.decide("c", 1.0)
        assert (first, second[0].result(5)) == (Fate.DROP, Fate.KEEP)


def test_document_from_before_the_last_drop_ends_no_doubt(caplog: pytest.LogCaptureFixture) -> None:
    """The service may have been well when it was asked for: nothing is believed again."""
    health = ServiceHealth(build_settings({}), Counters(), "The Config Service")
    drops = health.deletions.drops
    for name in "abc":
        health.deletions.decide(name, 1.0)
    health.service_failed(EVERYTHING_GONE, "instance 'd'", "The Config Service is gone.")
    caplog.clear()
    health.document_received("instance 'e'", drops)
    assert caplog.messages == []
    assert health.deletions.is_in_doubt
    health.document_received("instance 'e'", health.deletions.drops)
    assert len(caplog.messages) == 1
