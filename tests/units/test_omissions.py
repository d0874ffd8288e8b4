from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from instance_lookup.cache.leniency import LeftOut
from instance_lookup.fetching.omissions import _LIMIT, Omissions

if TYPE_CHECKING:
    import pytest

FLAG = LeftOut("features['a']", is_decoration=False)
OTHER = LeftOut("features['b']", is_decoration=False)


def test_omissions_count_each_part() -> None:
    """Each time, whatever the log says."""
    counted: Counter[str] = Counter()
    omissions = Omissions(lambda name: counted.update([name]))
    for left_out in ([FLAG, OTHER], [], [FLAG]):
        omissions.note("instance 'acme'", left_out)
    assert counted == {"rejected": 3}


def test_omissions_of_one_document_are_not_anothers(caplog: pytest.LogCaptureFixture) -> None:
    """Each has a line of its own, and mending one leaves the other known."""
    omissions = Omissions(lambda name: None)
    for document in ("instance 'a'", "instance 'b'"):
        omissions.note(document, [FLAG])
    omissions.note("instance 'a'", [])
    omissions.note("instance 'b'", [FLAG])
    assert len(caplog.records) == 2


def test_omissions_are_remembered_of_so_many_documents() -> None:
    """A fleet of broken tenants takes bounded memory; whole ones take none."""
    omissions = Omissions(lambda name: None)
    for number in range(_LIMIT + 10):
        omissions.note(f"instance '{number}'", [FLAG])
        omissions.note(f"instance 'whole {number}'", [])
    assert len(omissions.said) == _LIMIT
    assert "instance '9'" not in omissions.said
