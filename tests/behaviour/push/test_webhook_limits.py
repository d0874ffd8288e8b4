"""How many deliveries there may be, and what is logged of those that are refused."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from django.test import Client

from instance_lookup import get_resolver
from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.push import limits
from instance_lookup.push.receiver import get_receiver
from instance_lookup.testing import faulty_cache
from tests.support.monotonic import Monotonic
from tests.support.webhook import (
    NOW,
    OTHER,
    SECRET,
    URL,
    Service,
    deliver,
    event,
    logged,
    receive,
    refreshed,
    site,
)

if TYPE_CHECKING:
    import pytest


def test_too_many_unsigned(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """A forger is told to wait; the sender behind the same proxy is not."""
    with site(service=service), logged(caplog) as lines:
        forged, real = event(secret=OTHER, timestamp=NOW), event(timestamp=NOW)
        outcomes = [receive(forged) for _ in range(limits.LIMITS["unsigned"] + 2)]
        assert outcomes == ["unsigned"] * 60 + ["limited"] * 2
        assert receive(forged, source="192.0.2.2") == "unsigned"
        assert receive(real) == "done"
        assert receive(forged, now=NOW + 60) == "unsigned"
        refreshed()
    assert [line.partition(": ")[0] for line in lines] == [
        "A delivery to the webhook from '192.0.2.1' was refused",
        "A delivery to the webhook from '192.0.2.1' was refused",
        "The webhook got a delivery with a good signature.",
    ]


def test_too_many_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that does not stop is told when to go on: when the minute is over."""
    monkeypatch.setitem(limits.LIMITS, "signed", 2)
    with site():
        sent = [event("instance.deleted", timestamp=NOW) for _ in range(3)]
        moment = NOW - NOW % 60 + 45.5
        answers = [
            get_receiver().receive(each.headers, each.body, source="", now=moment) for each in sent
        ]
        assert [(each.status, each.retry_after) for each in answers] == [
            (204, None),
            (204, None),
            (429, 15),
        ]
        monkeypatch.setattr("instance_lookup.endpoints.webhook.time", lambda: moment)
        assert deliver(sent[2]).status_code == 204  # from another address
        assert deliver(event(timestamp=NOW)).status_code == 204
        response = deliver(sent[2])
        assert (response.status_code, response["Retry-After"]) == (429, "15")


def test_forged_between_real_ones(caplog: pytest.LogCaptureFixture) -> None:
    """Who forges now and then does not have a line written each time."""
    with site(), logged(caplog) as lines:
        for _ in range(5):
            receive(event(secret=OTHER, timestamp=NOW))
            receive(event("instance.deleted", timestamp=NOW))
    assert len(lines) == 2


def test_each_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Who corrects the secret reads at once that the clock is off, too, and which way."""
    with site(), logged(caplog) as lines:
        for _ in range(2):
            receive(event(secret=OTHER, timestamp=NOW))
            receive(event(timestamp=NOW - 600))
            receive(event(timestamp=NOW + 600))
    assert [re.findall("none of|behind|ahead", line) for line in lines] == [
        ["none of"],
        ["behind"],
        ["ahead"],
    ]


def test_unreadable_events_end(caplog: pytest.LogCaptureFixture) -> None:
    """The log says in plain words that the sender's events are as they should be again."""
    with site(), logged(caplog) as lines:
        receive(event("instance.deleted", timestamp=NOW, instance_id="a b"))
        receive(event("instance.deleted", timestamp=NOW))
    assert "which is no id" in lines[0]
    assert lines[1:] == ["The webhook got an event that it can read."]


def test_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A cache that works but does not count, as without INCR, is logged once, and its end."""
    with site(), faulty_cache() as faults, logged(caplog) as lines:
        clock = Monotonic(get_receiver())
        faults.fail("incr")
        for _ in range(2):
            assert receive(event("instance.deleted", timestamp=NOW)) == "done"
            clock.now += CACHE_SKIPPED
        faults.recover()
        assert receive(event("instance.deleted", timestamp=NOW)) == "done"
    assert "'default' does not count deliveries to the webhook (ConnectionError)" in lines[0]
    assert lines[1:] == ["Deliveries to the webhook are counted again."]


def test_forged_for_hours(caplog: pytest.LogCaptureFixture) -> None:
    """The log is told again of what goes on, as rarely as it says."""
    with site(), logged(caplog) as lines:
        for _ in range(3):
            get_receiver()._told.clear()  # as ten minutes do
            for _ in range(3):
                receive(event(secret=OTHER, timestamp=NOW))
    assert len(lines) == 3


def test_no_line_of_django_for_each_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """Django, which would log and mail each answer above 400, is kept from it."""
    with site(), faulty_cache() as faults, caplog.at_level(logging.DEBUG):
        deliver(event(secret=OTHER))
        Client().get(URL)
        faults.fail()
        deliver(event())
    assert not [record for record in caplog.records if record.name.startswith("django")]


def test_no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the secret nor the signature that would have been right is shown."""
    sent = event(secret=OTHER)
    with site(), caplog.at_level(logging.DEBUG):
        response = deliver(sent)
        shown = caplog.text + response.content.decode() + repr(get_resolver().settings)
    for secret in (SECRET, SECRET[6:], OTHER[6:], sent.headers["webhook-signature"]):
        assert secret not in shown
