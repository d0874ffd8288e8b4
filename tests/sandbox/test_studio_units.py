"""The studio's smaller parts: rate limits, lengths of time, the demo's Redis and its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from demo import Seen, Step, differences, perform
from sandbox import RedisAway, keys_removed
from studio.jobs import take
from studio.standing import duration

from instance_lookup import InstanceConfig, RateLimit
from tests.sandbox.service import fresh_id

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

NOON = 43_200.0


def config(**limit: Any) -> InstanceConfig:
    limits = {"render": RateLimit(**limit)} if limit else {}
    return InstanceConfig(instance_id=fresh_id(), rate_limits=limits)


def calls(which: InstanceConfig, *moments: float) -> list[float | None]:
    return [take(which, "render", moment) for moment in moments]


# --- rate limits -------------------------------------------------------------------------------


def test_limit_of_none_lets_everything_through() -> None:
    """No limit recorded, no limit."""
    assert calls(config(), *[NOON] * 5) == [None] * 5


def test_limit_of_a_minute_holds_to_its_end() -> None:
    """One too many waits for the next minute, and is told how long."""
    assert calls(config(rpm=2), NOON, NOON + 1, NOON + 2, NOON + 60) == [None, None, 58.0, None]


def test_limit_of_zero_is_a_pause() -> None:
    """An instance can be paused."""
    assert calls(config(rpm=0), NOON + 45) == [15.0]


def test_burst_is_let_through_after_a_quiet_minute_only() -> None:
    """Once in a while, not every minute."""
    which = config(rpm=1, rpm_burst=3)
    assert calls(which, *[NOON] * 4) == [None, None, None, 60.0]
    assert calls(which, *[NOON + 60] * 2) == [None, 60.0]
    assert calls(which, *[NOON + 180] * 2) == [None, None]


def test_limit_of_a_day_holds_beside_the_minute() -> None:
    """The day ends at midnight UTC."""
    which = config(rpm=9, daily=1)
    assert calls(which, NOON, NOON + 3600) == [None, 39_600.0]


def test_limit_counts_each_instance_for_itself() -> None:
    """A tenant's calls are not another's."""
    assert calls(config(rpm=1), NOON) == calls(config(rpm=1), NOON) == [None]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"),
        (59, "59 s"),
        (288, "4 min 48 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min 1 s"),
    ],
)
def test_duration_in_words(seconds: float, words: str) -> None:
    """Pages speak of minutes, not of 288 seconds."""
    assert duration(seconds) == words


# --- Redis of the demo -------------------------------------------------------------------------


def test_redis_keys_of_others_stay(redis_server: RedisServer) -> None:
    """The demo may run on a Redis that others use."""
    redis_server.command("SET", "others", "1")
    with keys_removed(redis_server.url(), "studio-demo-x"):
        redis_server.command("SET", "studio-demo-x-instances:1:a", "1")

    assert redis_server.command("EXISTS", "studio-demo-x-instances:1:a") == b":0"
    assert redis_server.command("EXISTS", "others") == b":1"


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:p%40ss-secret@127.0.0.1:9/0?password=secret",
        "unix:///run/none/redis.sock?password=secret",
        "http://:secret@127.0.0.1/",
    ],
)
def test_redis_that_is_not_there_is_named_without_its_password(url: str) -> None:
    """The demo stops before anything is started, and says why."""
    with pytest.raises(RedisAway, match=r"No Redis answers at \w+://(127|/run)") as caught:
        keys_removed(url, "x").__enter__()

    assert "secret" not in str(caught.value)


# --- steps -------------------------------------------------------------------------------------


def step(**fields: Any) -> Step:
    return Step(title="t", do=requests.Response, **{"status": 200, **fields})


@pytest.mark.parametrize(
    ("wanted", "seen", "words"),
    [
        (step(), Seen(status=403), "status: expected 200, got 403"),
        (step(source="cache"), Seen(status=200, source="service"), "source: expected 'cache'"),
        (step(), Seen(status=200, calls=1), "calls of the Config Service: expected 0, got 1"),
        (step(body={"a.b": 1}), Seen(status=200, body={"a": {"b": 2}}), "a.b: expected 1, got 2"),
        (step(body={"a.b": 1}), Seen(status=200, body=None), "a.b: expected 1, got None"),
        (step(header="Retry-After"), Seen(status=200), "header Retry-After is missing"),
        (step(text="hello"), Seen(status=200), "the page does not say 'hello'"),
        (step(), Seen(error="ConnectionError"), "no answer: ConnectionError"),
        (step(), Seen(status=503, body={"detail": "away"}), "the answer says: away"),
    ],
)
def test_step_that_went_wrong_says_what_differs(wanted: Step, seen: Seen, words: str) -> None:
    """Each thing that a step expects can fail it."""
    assert any(words in line for line in differences(wanted, seen))


def test_step_that_went_well_says_nothing() -> None:
    """What is as expected is no difference."""
    seen = Seen(status=200, source="cache", body={"a": 1, "detail": "x"}, headers={"ETag"})
    assert differences(step(source="cache", body={"a": 1}, header="ETag"), seen) == []


def test_step_without_an_answer_is_seen_as_such() -> None:
    """A server that is gone fails the step, not the demo."""

    def refused() -> requests.Response:
        raise requests.ConnectionError("a long story")

    assert perform(Step(title="t", do=refused, status=200), lambda: 0) == Seen(
        error="ConnectionError"
    )
