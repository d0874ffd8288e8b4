"""What those who watch are told of deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import Client

from instance_lookup import events
from instance_lookup.push.limits import LIMITS
from instance_lookup.testing import faulty_cache
from tests.support.webhook import OTHER, URL, deliver, event, site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The outcomes so far."""
    found: list[str] = []

    def watch(each: events.Event) -> None:
        if isinstance(each, events.Delivered):
            found.append(each.outcome)

    events.watch(watch)
    with site():
        yield found
    events.unwatch(watch)


def test_outcomes(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delivery is told of once, by one of few words."""
    sent = event("instance.deleted")
    deliver(sent)
    deliver(sent)
    deliver(event("instance.archived"))
    deliver(event(instance_id="no id"))
    deliver(event(secret=OTHER))
    deliver(sent._replace(body=b"x" * 70_000))
    assert told == ["done", "repeated", "ignored", "malformed", "unsigned", "malformed"]
    with faulty_cache() as faults:
        faults.fail()
        deliver(event())
    monkeypatch.setitem(LIMITS, "signed", 0)
    deliver(event("instance.deleted"))
    assert told[6:] == ["unavailable", "limited"]


def test_no_delivery(told: list[str]) -> None:
    """What is no delivery is not counted as one."""
    Client().get(URL)
    with site(WEBHOOK_SECRETS=()):
        deliver(event())
    assert told == []
