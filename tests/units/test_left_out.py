from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.cache.leniency import LeftOut
from instance_lookup.cache.stats import Counters
from instance_lookup.conf import build_settings
from instance_lookup.fetching.service_health import ServiceHealth
from instance_lookup.resilience.health import _LIMIT

if TYPE_CHECKING:
    import pytest

FLAG = LeftOut("features['a']", is_decoration=False)
OTHER = LeftOut("features['b']", is_decoration=False)


def test_left_out_count_each_part() -> None:
    """Each part that is left out is counted each time, logged or not."""
    counters = Counters()
    health = ServiceHealth(build_settings({}), counters, "The Config Service")
    for left_out in ([FLAG, OTHER], [], [FLAG]):
        health.left_out("instance 'acme'", left_out)
    assert counters.read().rejected == 3


def test_left_out_of_one_document_are_not_anothers(caplog: pytest.LogCaptureFixture) -> None:
    """Each document's left-out parts are logged by themselves."""
    health = ServiceHealth(build_settings({}), Counters(), "The Config Service")
    for document in ("instance 'a'", "instance 'b'"):
        health.left_out(document, [FLAG])
    health.left_out("instance 'a'", [])
    health.left_out("instance 'b'", [FLAG])
    assert len(caplog.records) == 2


def test_left_out_are_remembered_of_so_many_documents() -> None:
    """What is left out is remembered for a limited number of documents."""
    health = ServiceHealth(build_settings({}), Counters(), "The Config Service")
    for number in range(_LIMIT + 10):
        health.left_out(f"instance '{number}'", [FLAG])
        health.left_out(f"instance 'whole {number}'", [])
    assert len(health._incomplete.failing) == _LIMIT
    assert "instance '9'" not in health._incomplete.failing
