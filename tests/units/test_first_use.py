from __future__ import annotations

import os

import pytest

from instance_lookup.concurrency import forks
from instance_lookup.concurrency.first_use import FirstUse


def test_once() -> None:
    """What waits is called once, whatever else is added or removed."""
    first_use, called = FirstUse(), list[str]()

    def one() -> None:
        called.append("one")

    def other() -> None:
        called.append("other")

    first_use.add(one)
    first_use.add(one)
    first_use.add(other)
    first_use.remove(other)
    assert first_use.is_due
    first_use.happens()
    assert called == ["one"]
    assert not first_use.is_due


@pytest.mark.parametrize("waits", [True, False])
def test_again_in_a_child(monkeypatch: pytest.MonkeyPatch, *, waits: bool) -> None:
    """A child has no thread of its parent: there it is due again, if anything is."""
    first_use = FirstUse()
    if waits:
        first_use.add(list)
        first_use.happens()
    with monkeypatch.context() as patch:
        patch.setattr(forks, "_all", {first_use})
        patch.setattr(forks, "_process", os.getpid() + 1)
        forks.check()
    assert first_use.is_due is waits
