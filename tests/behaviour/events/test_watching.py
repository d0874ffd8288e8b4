"""Those who watch: each is called, and none can do harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceResolver, events
from tests.support.lookups import DOWN, SECRET, Service, asks
from tests.support.watching import Told, watching

if TYPE_CHECKING:
    from instance_lookup.backends.base import Document, NotModified, Query


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
    """A watcher that fails is logged once, and stops neither others nor what is told of."""

    def fail(_: events.Event) -> None:
        raise LookupError

    events.watchers = (fail, *events.watchers)
    try:
        with caplog.at_level(logging.ERROR, "instance_lookup"):
            events.tell(events.Denial("policy"))
            events.tell(events.Denial("service"))
    finally:
        events.unwatch(fail)
    assert told == [events.Denial("policy"), events.Denial("service")]
    assert [r.getMessage()[:35] for r in caplog.records] == ["A watcher of instance_lookup failed"]


class Failing(Service):
    """Fails in a frame that has a document in it."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        held = [self.instances[instance_id]]
        assert SECRET in repr(held)
        raise DOWN


def test_watcher_that_fails_while_a_call_does(caplog: pytest.LogCaptureFixture) -> None:
    """The error in the log does not lead to that of the call, whose frames hold a document."""

    def fail(event: events.Event) -> None:
        if isinstance(event, events.ServiceCall):
            try:
                raise KeyError
            except KeyError:
                raise LookupError  # noqa: B904  # as code that does not think of it

    resolver = InstanceResolver(config_service_backend=Failing())
    events.watch(fail)
    try:
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks())
    finally:
        events.unwatch(fail)
    (logged,) = (one.exc_info for one in caplog.records if "A watcher" in one.message)
    assert logged is not None
    assert logged[1] is not None
    own = logged[1].__context__
    assert isinstance(own, KeyError)
    assert own.__context__ is None
