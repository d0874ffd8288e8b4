from __future__ import annotations

from math import inf
from time import time
from typing import Any

import pytest

from instance_lookup import CacheStats
from instance_lookup.events import Lookup, Rejection, ServiceCall
from instance_lookup.operations import recorder as module
from instance_lookup.operations.recorder import Recorder
from instance_lookup.operations.stored import BUCKETS, Minute


def call(asked: str = "acme", *, began: float = 100.0, **fields: Any) -> ServiceCall:
    values: dict[str, Any] = {"kind": "instance", "outcome": "ok", "status": 200, "seconds": 1.0}
    return ServiceCall(asked=asked, began=began, request_id="r", **values | fields)


def test_record_other_events() -> None:
    """Only calls of the service are recorded, and only instances are listed."""
    recorder = Recorder()
    recorder.record(Rejection("part"))
    recorder.record(call("shop", kind="project"))
    recorder.record(call("not\udc80 printable"))
    assert recorder.take(10, ended_by=200.0) == {}
    assert recorder.minutes()[-1].calls == 2


def test_take_waits_for_the_answer_to_be_stored() -> None:
    """An instance is looked at when its last answer is stored; no more than so many at once."""
    recorder = Recorder()
    for number in range(3):
        recorder.record(call(str(number), began=100.0 + number))
    assert [*recorder.take(1, ended_by=102.0)] == ["0"]
    assert [*recorder.take(9, ended_by=102.0)] == ["1"]
    assert [*recorder.take(9, ended_by=103.0)] == ["2"]


def test_give_back() -> None:
    """What is given back comes first the next time, in the order of the answers."""
    recorder = Recorder()
    recorder.record(call(began=100.0))
    taken = recorder.take(9, ended_by=200.0)
    recorder.record(call("globex"))
    recorder.record(call(began=110.0))
    recorder.give_back(taken)
    again = recorder.take(9, ended_by=200.0)
    assert [*again] == ["acme", "globex"]
    assert [answer.at for answer in again["acme"].answers] == [100.0, 110.0]


def test_waiting_instances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait, the ones called for least recently make room."""
    monkeypatch.setattr(module, "_LIMIT", 2)
    recorder = Recorder()
    for name in ("a", "b", "a", "c"):
        recorder.record(call(name))
    assert [*recorder.take(9, ended_by=200.0)] == ["a", "c"]


def test_lookups_are_news_where_that_is_new() -> None:
    """Of lookups it counts when they come to, or from, a stale copy; the other ones are no news."""
    recorder = Recorder()

    def news_after(*sources: str | None) -> list[str | None]:
        for source in sources:
            recorder.record(Lookup(source, "ok", 0.1, instance_id="acme"))
        return [each.source for each in recorder.take(9, ended_by=inf).values()]

    assert news_after("cache", "cache") == ["cache"]
    assert news_after("service", "cache") == []
    assert news_after(None) == []
    assert news_after("stale_cache", "stale_cache") == ["stale_cache"]
    assert news_after("stale_cache") == []
    assert news_after("service") == ["service"]


def test_lookups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of an instance that was not looked up for long is forgotten: it is news again."""
    monkeypatch.setattr(module, "_LIMIT", 1)
    recorder = Recorder()
    for name in ("a", "b", "a"):
        recorder.record(Lookup("cache", "ok", 0.1, instance_id=name))
        assert [*recorder.take(9, ended_by=inf)] == [name]


def test_count_starts_at_the_first_numbers() -> None:
    """What was counted before the first report, or before a reset, is not of this minute."""
    recorder = Recorder()
    for hits in (7, 9, 1, 2):
        recorder.count(CacheStats(hits=hits))
    assert sum(minute.fresh for minute in recorder.minutes()) == 3


def test_adopt() -> None:
    """An adopted minute is added to ours, others are put in their place."""
    recorder = Recorder()
    recorder.record(call())
    now = recorder.minutes()[-1].minute
    recorder.adopt([Minute(minute=now - 1, calls=5), Minute(minute=now, calls=3, latency=[3])])
    assert [minute.calls for minute in recorder.minutes()] == [5, 4]


def test_calls_a_minute() -> None:
    """It is that of the last whole minute, or of this one where there were more."""
    recorder = Recorder()
    recorder.adopt([Minute(minute=int(time() // 60) - 2, calls=9)])
    recorder.record(call())
    assert recorder.calls_a_minute() == 1


@pytest.mark.parametrize("seconds", [0.0004, 0.02, 0.12, 0.9, 5.0])
def test_quantile_is_near(seconds: float) -> None:
    """A quantile is right to within a bucket; there is none without calls."""
    minute = Minute(minute=0)
    assert minute.quantile(0.5) is None
    for _ in range(10):
        minute.count_call(seconds, failed=False)
    assert (minute.quantile(0.5) or 0.0) == pytest.approx(seconds, rel=0.5)


def test_quantiles_differ() -> None:
    """The 95th percentile shows the slow ones, the median does not."""
    minute = Minute(minute=0)
    for seconds in [0.01] * 90 + [2.0] * 10:
        minute.count_call(seconds, failed=seconds > 1)
    assert (minute.quantile(0.5) or 0.0) < 0.02
    assert (minute.quantile(0.95) or 0.0) > 1.0
    assert (minute.calls, minute.failures) == (100, 10)


def test_very_slow_call() -> None:
    """A call that is slower than the last bound is in the last bucket."""
    minute = Minute(minute=0)
    minute.count_call(1e9, failed=True)
    assert minute.latency[BUCKETS - 1] == 1
