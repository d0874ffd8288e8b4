from __future__ import annotations

from itertools import pairwise
from time import time
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from instance_lookup import get_resolver
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.contrib.admin.charts import charts, seconds
from instance_lookup.contrib.admin.head import head_context
from instance_lookup.operations.condition import (
    CacheCondition,
    Condition,
    ServiceCondition,
    State,
    SubscriptionCondition,
)
from instance_lookup.operations.reporter import reporter
from instance_lookup.operations.reports import Difference, Fleet, Processes, Runway
from instance_lookup.operations.status import Status, get_status
from instance_lookup.operations.stored import Beat, Form, Minute, Minutes, beat_key, minutes_key
from tests.behaviour.admin.support import HOME, see
from tests.behaviour.commands.support import store
from tests.support.servers import Answer

if TYPE_CHECKING:
    from typing import Any

    from instance_lookup.resolver import InstanceResolver
    from tests.behaviour.admin.support import Browser
    from tests.behaviour.commands.support import ConfigService

NOW = 1_800_000_000.0


def cards(**status: Any) -> dict[str, tuple[str, str, str]]:
    """Return level, value and details of each card."""
    fleet = Fleet(is_on=True, at=NOW, stale_max_age=3600)
    shown = head_context(Status(**{"state": State.HEALTHY, "at": NOW, **status}), fleet)["cards"]
    return {each.title: (each.level, each.value, "; ".join(each.details)) for each in shown}


def report(resolver: InstanceResolver, pid: int, minutes: list[Minute], **condition: Any) -> None:
    """Have a process of the fleet report."""
    cache, form = key_values[resolver.settings.cache_alias], Form(resolver.settings)
    beat = Beat(
        token=f"t{pid}",
        host="web1",
        pid=pid,
        started=time(),
        version="1",
        settings="s",
        condition=Condition(**{"state": State.HEALTHY, "at": time(), **condition}),
    )
    cache.set(beat_key(pid), form.encode(beat, beat_key(pid)), 30)
    hour = form.encode(Minutes(minutes=minutes), minutes_key(pid))
    cache.set(minutes_key(pid), hour, 3600)


def test_cards_while_all_is_well() -> None:
    """A healthy site has no card that warns."""
    shown = cards(
        service=ServiceCondition(up=True),
        subscription=SubscriptionCondition(state="heard"),
        counters={"hits": 98, "misses": 2},
        calls_a_minute=3.0,
        runway=Runway(0),
        processes=Processes(4),
    )
    assert shown == {
        "Config Service": ("good", "up", ""),
        "Cache": ("good", "up", ""),
        "Invalidations": ("good", "heard", ""),
        "Hit ratio": ("idle", "98.0%", "3 calls a minute"),
        "Stale runway": ("idle", "no stale copies served", ""),
        "Processes": ("good", "4 reported", ""),
    }


def test_card_of_service_that_was_not_asked() -> None:
    """What nobody has asked is neither up nor down."""
    assert cards()["Config Service"] == ("idle", "not asked yet", "")


def test_card_of_service_that_fails() -> None:
    """A failing service: since when, why, the breaker, the next try."""
    service = ServiceCondition(
        up=False,
        failing_since=NOW - 300,
        reason="timeout",
        last_error="did not answer",
        breaker="half_open",
        next_try_in=4.0,
    )
    level, value, details = cards(service=service)["Config Service"]
    assert (level, value) == ("bad", "failing: timeout")
    assert "(5 min); breaker half open; next try in 4 s; did not answer" in details


def test_card_of_service_that_fails_for_some() -> None:
    """A service that fails for some documents is up, with a warning."""
    shown = cards(service=ServiceCondition(up=True, failing_documents=2))["Config Service"]
    assert shown == ("warning", "up", "no usable answer for 2 documents")


@pytest.mark.parametrize(
    ("cache", "value"),
    [
        (CacheCondition(up=False, failing_since=NOW - 60, skipped_for=4.0), "down"),
        (CacheCondition(writable=False, failing_since=NOW - 60), "takes no writes"),
    ],
)
def test_card_of_cache_that_fails(cache: CacheCondition, value: str) -> None:
    """A cache that is down is told from one that takes no writes."""
    level, shown, details = cards(cache=cache)["Cache"]
    assert (level, shown) == ("bad", value)
    assert "(1 min)" in details
    assert ("skipped for 4 s" in details) is not cache.up


def test_card_of_cache_has_last_error() -> None:
    """What the log said last of the cache is shown."""
    assert cards(cache=CacheCondition(up=False, last_error="refused"))["Cache"][2] == "refused"


@pytest.mark.parametrize(
    ("heard", "level", "value"),
    [
        (SubscriptionCondition(state="deaf", deaf_since=NOW - 60), "bad", "deaf"),
        (SubscriptionCondition(state="heard", can_publish=False), "warning", "heard"),
        (SubscriptionCondition(state="deaf", can_publish=False), "bad", "deaf"),
        (SubscriptionCondition(), "idle", "not used"),
    ],
)
def test_card_of_invalidations(heard: SubscriptionCondition, level: str, value: str) -> None:
    """Whether invalidations are heard, and whether others can be told of them."""
    assert cards(subscription=heard)["Invalidations"][:2] == (level, value)


def test_card_of_runway() -> None:
    """How many are on a stale copy, and when the first, the median and the last run out."""
    shown = cards(runway=Runway(12, 60.0, 600.0, 3000.0))["Stale runway"]
    assert shown[:2] == ("warning", "12 instances on a stale copy")
    assert shown[2] == "first runs out in 1 min; median runs out in 10 min; last runs out in 50 min"
    assert cards(runway=Runway(1, 1.0, 1.0, 1.0))["Stale runway"][1] == "1 instance on a stale copy"


def test_cards_of_fleet_that_cannot_be_read() -> None:
    """With the cache down it is not known who is on a stale copy, nor how many processes run."""
    fleet = Fleet(is_on=True, at=NOW, stale_max_age=3600, failure="down")
    shown = {
        card.title: card.value for card in head_context(get_status(None, fleet), fleet)["cards"]
    }
    assert (shown["Stale runway"], shown["Processes"]) == ("not known", "not known")


def test_card_of_processes_names_the_one_that_differs() -> None:
    """The page says which process is not like the others, and in what."""
    differing = (Difference("web1:7", "cache", "down", "up"),)
    shown = cards(processes=Processes(1, differing))["Processes"]
    assert shown == ("warning", "1 reported", "web1:7: cache is down, others up")


def test_page_shows_fleet(operator: Browser, reporting: InstanceResolver) -> None:
    """What all processes report is on the page: how many there are, and which one differs."""
    for pid in (1, 2):
        report(reporting, pid, [])
    service = ServiceCondition(up=False, reason="timeout", failing_since=time() - 60)
    report(reporting, 3, [], state=State.UNHEALTHY, service=service)
    page = operator.see()
    assert "Status ! degraded" in page
    assert "3 report" in page
    assert "web1:3: service is failing: timeout, others up" in page


def test_page_shows_runway(operator: Browser, reporting: InstanceResolver) -> None:
    """While the service fails the page says how long stale copies last."""
    store("acme", age=3010)
    see("acme", ago=60)
    see("acme", outcome="timeout", source="stale_cache", status=None)
    page = operator.see()
    assert "1 instance on a stale copy" in page
    assert "first runs out in 9 min" in page


def test_page_of_service_that_goes_down_and_comes_back(
    operator: Browser, reporting: InstanceResolver, service: ConfigService
) -> None:
    """An outage and its end are seen on the page once a process has reported them."""
    operator.do("warm", "acme")
    service.scripts = {"/instances/acme": Answer(500)}
    operator.do("warm", "acme")
    reporter.report(get_resolver())
    assert "failing: status" in operator.see()
    service.scripts = {}
    operator.do("warm", "globex")
    reporter.report(get_resolver())
    assert "failing" not in operator.see()


def test_page_without_reports_says_how_to_have_them(operator: Browser) -> None:
    """Where nothing is reported, the page names the setting, and shows what this process knows."""
    page = operator.see()
    assert "Status · no trouble is known" in page
    assert "Set REPORT_STATUS to True" in page
    assert "What is shown is of this process." in page


def busy_minutes() -> list[Minute]:
    this = int(time() // 60)
    minutes = [
        Minute(minute=this - 2, fresh=90, near=60, stale=4, negative=3, missed=3),
        Minute(minute=this - 1, fresh=50),
    ]
    for each in minutes:
        each.count_call(0.2, failed=False)
        each.count_call(1.5, failed=True)
    return minutes


def test_page_draws_charts(operator: Browser, reporting: InstanceResolver) -> None:
    """The charts are well-formed SVG without style or script, and a table says the same."""
    report(reporting, 1, busy_minutes())
    page = operator.get(HOME).content.decode()
    drawn = [
        ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>")
        for part in page.split("<svg")[1:]
        if 'role="img"' in part.partition(">")[0]
    ]
    assert len(drawn) == 3
    for svg in drawn:
        assert all("style" not in each.attrib for each in svg.iter())
    assert "Lookups of the last hour: 60 from memory, 80 fresh copy, 4 stale copy" in page
    assert "<td>90</td><td>60</td><td>4</td><td>3</td><td>3</td><td>2</td><td>1</td>" in page


def test_charts_stack_what_happened_in_a_minute() -> None:
    """The parts of a bar stand on each other, and the tallest bar fits."""
    lookups, *_ = charts(busy_minutes())
    first = [bar for bar in lookups.bars if bar.x == lookups.bars[0].x]
    assert [bar.kind for bar in first] == ["near", "fresh", "stale", "negative", "missed"]
    for below, above in pairwise(first):
        assert above.y + above.height == pytest.approx(below.y, abs=0.2)
    assert all(bar.y >= 10 and bar.y + bar.height <= 108.2 for bar in lookups.bars)


def test_charts_leave_gap_where_nothing_was_called() -> None:
    """A line joins minutes that follow each other, and no others."""
    one, two = busy_minutes()
    three = replace(two, minute=two.minute + 1)
    latency = charts([one, Minute(minute=0), two, three])[1]
    assert [line.kind for line in latency.lines] == ["p50", "p95"]
    assert len(latency.dots) == 6


def test_charts_of_nothing() -> None:
    """An hour in which nothing happened is drawn empty."""
    assert all(not chart.bars and not chart.lines for chart in charts([]))


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0123, "12 ms"), (1.234, "1.2 s"), (12.0, "12 s")]
)
def test_seconds_are_readable(value: float | None, text: str) -> None:
    """A latency is told in the unit that fits it."""
    assert seconds(value) == text
