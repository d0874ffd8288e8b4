"""Those who watch: each is called, and none can do harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from instance_lookup import events
from tests.support.watching import Told, watching

if TYPE_CHECKING:
    import pytest


def test_watcher_is_called_once() -> None:
    """A watcher that is given twice is told of each event once."""
    with watching() as told:
        events.watch(told.append)
        events.tell(events.Denial("policy"))
    assert told == [events.Denial("policy")]


def test_watcher_that_is_gone_is_not_called() -> None:
    """After ``unwatch`` nothing is told, and nothing watches."""
    with watching() as told:
        pass
    events.tell(events.Denial("policy"))
    assert told == []
    assert events.watchers == ()


def test_watcher_that_fails(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """A watcher that fails is logged, and stops neither others nor what is told of."""

    def fail(_: events.Event) -> None:
        raise LookupError

    events.watchers = (fail, *events.watchers)
    try:
        with caplog.at_level(logging.ERROR, "instance_lookup"):
            events.tell(events.Denial("policy"))
    finally:
        events.unwatch(fail)
    assert told == [events.Denial("policy")]
    assert "A watcher of instance_lookup failed" in caplog.text
