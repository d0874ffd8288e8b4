from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from instance_lookup.deletions import BELIEVED, Deletions, Fate


@pytest.fixture
def deletions() -> Deletions:
    return Deletions()


def gone(deletions: Deletions, *names: str) -> list[Fate]:
    return [deletions.decide(name, 1.0) for name in names]


def test_three_in_a_row_are_believed(deletions: Deletions) -> None:
    """And no more, whichever ids those are."""
    assert BELIEVED == 3
    assert gone(deletions, "a", "b", "c", "d", "e") == [Fate.DROP] * 3 + [Fate.KEEP] * 2


def test_one_id_counts_once(deletions: Deletions) -> None:
    """Two calls for it that were under way together say the same thing."""
    assert gone(deletions, "a", "a", "a") == [Fate.DROP, Fate.DROP_AGAIN, Fate.DROP_AGAIN]
    assert gone(deletions, "b", "c", "d") == [Fate.DROP, Fate.DROP, Fate.KEEP]


def test_id_that_was_believed_stays_so(deletions: Deletions) -> None:
    """A late answer for the third of them is no fourth one."""
    gone(deletions, "a", "b", "c", "d")
    assert gone(deletions, "c") == [Fate.DROP_AGAIN]


def test_another_copy_of_an_id_is_told_again(deletions: Deletions) -> None:
    """Somebody stored it meanwhile: that it is dropped once more is news, but no further id."""
    gone(deletions, "a", "b", "c")
    assert deletions.decide("a", 2.0) is Fate.DROP
    assert gone(deletions, "d") == [Fate.KEEP]


def test_document_ends_all_doubt(deletions: Deletions) -> None:
    """The service knows something: the next three are believed again."""
    gone(deletions, "a", "b", "c", "d")
    assert deletions.note_document(deletions.drops)
    assert gone(deletions, "d", "e", "f", "g") == [Fate.DROP] * 3 + [Fate.KEEP]


def test_document_asked_for_before_a_drop_does_not_count(deletions: Deletions) -> None:
    """It took its time: the service was well when it was asked, not when it said "gone"."""
    before = deletions.drops
    gone(deletions, "a", "b", "c")
    assert not deletions.note_document(before)
    assert gone(deletions, "d") == [Fate.KEEP]


def test_many_at_once_drop_three() -> None:
    """Of twenty answers that come in together no more are believed than of twenty in a row."""
    for _ in range(50):
        deletions, start = Deletions(), Barrier(20)

        def fate(name: int, deletions: Deletions = deletions, start: Barrier = start) -> Fate:
            start.wait(5)
            return deletions.decide(name, 1.0)

        with ThreadPoolExecutor(20) as threads:
            fates = list(threads.map(fate, range(20)))
        assert fates.count(Fate.DROP) == 3
