"""The studio's smaller parts: rate limits, the demo's Redis and its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from demo import Step, differences
from servers import keys_removed
from studio.jobs import WorkerFailed, route_job, take

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
    """Without a recorded limit each call is let through."""
    assert calls(config(), *[NOON] * 5) == [None] * 5


def test_limit_of_a_minute_holds_to_its_end() -> None:
    """A call over the limit of a minute is refused with the seconds until the next minute."""
    assert calls(config(rpm=2), NOON, NOON + 1, NOON + 2, NOON + 60) == [None, None, 58.0, None]


def test_limit_of_zero_is_a_pause() -> None:
    """A limit of zero refuses each call."""
    assert calls(config(rpm=0), NOON + 45) == [15.0]


def test_limit_of_a_day_holds_beside_the_minute() -> None:
    """A daily limit holds beside that of the minute, until midnight UTC."""
    which = config(rpm=9, daily=1)
    assert calls(which, NOON, NOON + 3600) == [None, 39_600.0]


def test_limit_counts_each_instance_for_itself() -> None:
    """Each instance's calls are counted separately."""
    assert calls(config(rpm=1), NOON) == calls(config(rpm=1), NOON) == [None]


def test_key_that_cannot_be_sent_is_no_crash() -> None:
    """A key with a line break is told as a failure of the worker, and is not shown."""
    url, key = "http://127.0.0.1:9/", "sk-SECRET\n"
    which = InstanceConfig(
        instance_id=fresh_id(), worker_urls={"render": url}, api_keys={"render": key}
    )
    with pytest.raises(WorkerFailed, match="key of the worker cannot be sent") as caught:
        route_job(which, "render", "a tree")
    assert "SECRET" not in str(caught.value.__cause__)


# --- Redis of the demo -------------------------------------------------------------------------


def test_redis_keys_of_others_stay(redis_server: RedisServer) -> None:
    """The demo removes only its own keys from Redis."""
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
    with pytest.raises((RuntimeError, ValueError), match="Redis") as caught:
        keys_removed(url, "x").__enter__()

    assert "secret" not in str(caught.value)


# --- steps -------------------------------------------------------------------------------------


def step(**fields: Any) -> Step:
    return Step(title="t", do=requests.Response, **{"status": 200, **fields})


WELL = {"status": 200, "source": "", "calls": 0}


@pytest.mark.parametrize(
    ("wanted", "seen", "words"),
    [
        (step(), {"status": 403}, "status: expected 200, got 403"),
        (step(), {"status": 403, "detail": "Away."}, "status: expected 200, got 403 (Away.)"),
        (step(source="cache"), {"source": "service"}, "source: expected 'cache', got 'service'"),
        (step(), {"calls": 1}, "calls: expected 0, got 1"),
        (step(body={"a": {"b": 1}}), {"a": {"b": 2}}, "a: expected {'b': 1}, got {'b': 2}"),
        (step(body={"a": 1}), {}, "a: expected 1, got None"),
    ],
)
def test_step_that_went_wrong_says_what_differs(
    wanted: Step, seen: dict[str, Any], words: str
) -> None:
    """Each thing that a step expects can fail it."""
    assert list(differences(wanted, {**WELL, **seen})) == [words]


def test_step_that_went_well_says_nothing() -> None:
    """A step with the expected answer has no differences."""
    seen = {**WELL, "a": 1, "detail": "x"}
    assert list(differences(step(body={"a": 1}), seen)) == []
