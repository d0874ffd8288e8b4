"""``warm_instance_cache --rate`` and ``--stale-only``: how fast, and which."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import wait
from contextlib import suppress
from io import StringIO
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management.base import OutputWrapper

from instance_lookup import InstanceNotFound, get_resolver
from instance_lookup.concurrency.pace import Pace
from instance_lookup.inspection import StaleOnly
from instance_lookup.management.progress import Progress
from instance_lookup.outcomes import Failure
from instance_lookup.warming import awarm, warm
from tests.behaviour.commands.support import SECRET, TOKEN, run, store
from tests.support.caches import use_cache
from tests.support.servers import Answer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService
    from tests.support.redis_server import RedisServer
    from tests.support.servers import Received, Script

KINDS = ["locmem", "filebased", "db", "redis", "django-redis"]


def warm_command(*args: str, **options: Any) -> Any:
    return run("warm_instance_cache", *args, **options)


class Time:
    """The clock and the waiting of ``warming``: it passes only where the command waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.hang: Callable[[int], bool] = lambda calls: False
        """Whether none of so many calls will end before time has passed."""
        for name in ("monotonic", "sleep", "wait"):
            monkeypatch.setattr(f"instance_lookup.warming.{name}", getattr(self, name))

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, calls: Any, seconds: float, return_when: str) -> Any:
        """Wait until a call ends, however long that takes; where all hang, time passes."""
        wait_until(lambda: wait(calls, 0.01, return_when).done or self.hang(len(calls)))
        found = wait(calls, 0.0, return_when)
        if not found.done:
            self.now += seconds
        return found


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def begun(service: ConfigService, time: Time) -> list[float]:
    """Have the service note when each call came; return the list."""
    moments: list[float] = []

    def answer(request: Received) -> Script:
        moments.append(time.now)
        return service.answer(request)

    service.server.answers = answer
    return moments


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("rate", [10.0, 0.5])
def test_warm_rate_spaces_calls(
    service: ConfigService, time: Time, rate: float, concurrency: int
) -> None:
    """Calls come evenly, 1 / rate seconds apart, with any number of workers."""
    service.ids = [f"i{number}" for number in range(6)]
    moments = begun(service, time)
    done = warm_command(*service.ids, rate=rate, concurrency=concurrency)
    assert (done.code, done.out) == (0, "Warmed 6 instances.\n")
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == pytest.approx([1 / rate] * 5)


def test_warm_rate_holds_for_all_workers_together(service: ConfigService, time: Time) -> None:
    """Calls that hang do not hold up the others, and those are still no faster."""
    service.ids = [f"i{number}" for number in range(5)]
    together = threading.Barrier(4, timeout=30)
    moments: list[float] = []

    def answer(request: Received) -> Script:
        moments.append(time.now)
        if request.path != "/instances/i0":  # goes ahead of the others
            together.wait()
        return service.answer(request)

    service.server.answers = answer
    time.hang = lambda calls: len(moments) == 1 + calls < 5  # beside i0, which has ended
    assert warm_command(*service.ids, rate=2.0, concurrency=4).code == 0
    assert moments == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_warm_rate_with_the_real_clock(service: ConfigService) -> None:
    """At 50 a second five calls after the first take a tenth of a second at least."""
    service.ids = [f"i{number}" for number in range(6)]
    began = monotonic()
    assert warm_command(*service.ids, rate=50.0).code == 0
    assert monotonic() - began >= 0.1


def test_warm_rate_counts_a_second_try(service: ConfigService, time: Time) -> None:
    """An instance that was invalidated meanwhile is asked for again, as a call like any other."""
    moments = begun(service, time)
    answer = service.server.answers
    assert callable(answer)

    def invalidating(request: Received) -> Script:
        found = answer(request)
        if len(moments) == 1:
            get_resolver().invalidate_cache("acme")
        return found

    service.server.answers = invalidating
    assert list(warm(get_resolver(), ["acme"], rate=4.0)) == ["acme"]
    assert moments == pytest.approx([0.0, 0.25])


def test_warm_fail_fast_at_a_rate_begins_no_other(service: ConfigService, time: Time) -> None:
    """Workers do not wait for their turn: none of them calls after the first failure."""
    service.ids = ["acme", "globex"]
    done = warm_command(
        "acme", "unknown", "globex", rate=1.0, concurrency=8, fail_fast=True, format="json"
    )
    assert (done.code, done.json["warmed"]) == (2, ["acme"])
    assert service.asked == ["/instances/acme", "/instances/unknown"]


def test_warm_cache_that_keeps_nothing_is_asked_twice(
    settings: Settings, service: ConfigService
) -> None:
    """What the cache does not keep is fetched once more, and then is a failure."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    done = warm_command("acme")
    assert done.code == 2
    assert "acme: CACHE_ERROR: The cache did not keep 'acme'" in done.err
    assert service.asked == ["/instances/acme"] * 2


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_warm_impossible_rate_is_a_usage_error(service: ConfigService, rate: float) -> None:
    """A rate that is no positive number is refused with its value, before anything is asked."""
    done = warm_command("acme", rate=rate)
    assert done.code == 1
    assert done.err.endswith(f"--rate must be a positive number of calls a second, not {rate:g}.")
    assert service.asked == []


def test_warm_impossible_concurrency_is_refused(service: ConfigService) -> None:
    """Both twins say so where they are called, not at their first result."""
    for call in (warm, awarm):
        with pytest.raises(ValueError, match="concurrency must be from 1 to 64, not 0"):
            call(get_resolver(), ["acme"], concurrency=0)


def test_pace_does_not_catch_up() -> None:
    """What begins late is not followed by a burst."""
    now = 100.0
    pace = Pace(2.0, lambda: now)
    assert pace.left() == 0.0
    pace.begin()
    assert pace.left() == 0.5
    now = 103.0
    assert pace.left() == 0.0
    pace.begin()
    assert pace.left() == 0.5


def test_pace_without_a_rate_never_waits() -> None:
    """Without a rate as many may begin as come."""
    pace = Pace(None, lambda: 1.0)
    pace.begin()
    assert pace.left() == 0.0


@pytest.mark.parametrize("cache_kind", KINDS)
def test_stale_only_warms_stale_copies(cached: ConfigService) -> None:
    """Neither fresh copies, nor what is absent, blocked or known not to exist, is asked for."""
    store("acme", age=400)
    store("hooli", age=400)
    get_resolver().block_instance("hooli", 3600)
    store("globex", age=5)
    with suppress(InstanceNotFound):
        get_resolver().refresh("unknown")
    cached.server.received.clear()
    named = ["acme", "globex", "hooli", "initech", "unknown", "acme"]
    done = warm_command(*named, stale_only=True)
    assert (done.code, done.out) == (0, "Warmed 1 instance. 4 had no stale copy.\n")
    assert cached.asked == ["/instances/acme"]


def test_stale_only_of_the_list_in_json(service: ConfigService) -> None:
    """With --all the list is gone through; JSON counts what was left alone."""
    store("globex", age=400)
    done = warm_command(all=True, stale_only=True, format="json")
    assert done.code == 0
    assert (done.json["warmed"], done.json["skipped"]) == (["globex"], 2)


def test_stale_only_dry_run(service: ConfigService) -> None:
    """--dry-run names the stale ones; a malformed id is a failure as it is without."""
    store("acme", age=400)
    done = warm_command("acme", "globex", "no/id", stale_only=True, dry_run=True)
    assert done.code == 2
    assert done.out == "acme\nWould warm 1 of 2 instances. 1 had no stale copy.\n"
    assert "no/id: INVALID_CONTEXT: " in done.err
    assert service.asked == []


def test_stale_only_includes_the_expired(service: ConfigService) -> None:
    """After --expire a copy is stale at any age."""
    store("acme", age=5)
    get_resolver().cache.expire("acme")
    assert warm_command("acme", stale_only=True).out.startswith("Warmed 1 instance.")


def test_stale_only_looks_when_its_turn_comes(service: ConfigService) -> None:
    """A copy that a request renewed while the command was at another is left alone."""
    store("acme", age=400)
    store("globex", age=400)
    resolver = get_resolver()
    stale = StaleOnly(resolver, ["acme", "globex"])
    for one in warm(resolver, stale, concurrency=1):
        assert one == "acme"
        resolver.refresh("globex")
    assert stale.skipped == 1
    assert service.asked == ["/instances/acme", "/instances/globex"]


def test_stale_only_takes_no_turn_for_what_it_skips(service: ConfigService, time: Time) -> None:
    """The rate is for calls: what is skipped costs no time."""
    store("initech", age=400)
    assert warm_command("acme", "globex", "initech", stale_only=True, rate=0.1).code == 0
    assert time.now == 0.0


@pytest.mark.parametrize("is_service_up", [True, False])
def test_stale_only_with_the_cache_away_asks_nothing(
    settings: Settings, service: ConfigService, own_redis_server: RedisServer, is_service_up: bool
) -> None:
    """Which copies are stale is not known: that is the failure of each id, and no call is made."""
    with use_cache("django-redis", redis_url=own_redis_server.url()) as name:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": name}
        own_redis_server.kill()
        if not is_service_up:
            service.server.stop()
        done = warm_command("acme", "globex", stale_only=True, rate=0.1)
    assert (done.code, done.out) == (2, "Warmed 0 of 2 instances. 0 had no stale copy.\n")
    assert done.err.count("CACHE_ERROR: The cache 'instances' failed to read") == 2
    assert "Traceback" not in done.err
    assert service.asked == []


def test_stale_only_fail_fast_ends_at_an_id_that_cannot_be_read(service: ConfigService) -> None:
    """With --fail-fast a malformed id is a failure like one of the service."""
    store("acme", age=400)
    done = warm_command("no/id", "acme", stale_only=True, fail_fast=True, format="json")
    assert (done.code, done.json["warmed"], len(done.json["failed"])) == (2, [], 1)


def test_stale_only_shows_no_secret(service: ConfigService) -> None:
    """Nothing of a stale copy, and no token, is printed."""
    store("acme", age=400)
    service.scripts["/instances/acme"] = Answer(500, SECRET.encode())
    done = warm_command("acme", stale_only=True, format="json")
    assert done.code == 2
    assert SECRET not in done.out + done.err
    assert TOKEN not in done.out + done.err


async def test_awarm_yields_what_warm_does(service: ConfigService) -> None:
    """The twin warms the same, one after another, and tells of failures."""
    resolver = get_resolver()
    ids = ["acme", "no/id", "acme"]
    found = [one async for one in awarm(resolver, ids, concurrency=1, rate=100.0, fail_fast=False)]
    assert found[0] == "acme"
    assert isinstance(found[1], Failure)
    assert service.asked == ["/instances/acme"]


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(total: Any, *steps: tuple[float, int, int]) -> list[str]:
    """Return what a bar shows at each step: seconds, done, failed."""
    now, stream = 0.0, Terminal()
    progress = Progress(OutputWrapper(stream), total, lambda: now)
    for seconds, done, failed in steps:
        now = seconds
        progress.draw(done, failed)
    return [line.rstrip() for line in stream.getvalue().split("\r")[1:]]


def test_progress_shows_speed_and_time_left() -> None:
    """After the first second there is the mean speed, and how long the others take at it."""
    lines = drawn(100, (0.5, 1, 0), (10.0, 25, 2), (40.0, 100, 2))
    assert lines == [
        f"[{'.' * 30}] 1/100",
        f"[{'#' * 7}{'.' * 23}] 25/100, 2 failed, 2.5/s, 30 s left",
        f"[{'#' * 30}] 100/100, 2 failed, 2.5/s",
    ]


def test_progress_of_a_slow_command_counts_by_the_minute() -> None:
    """Less than one a second would be 0.0/s."""
    (line,) = drawn(4, (40.0, 2, 0))
    assert line.endswith("2/4, 3.0/min, 40 s left")


def test_progress_without_a_total_shows_the_speed() -> None:
    """Where it is not known how many there are, no time is left to tell."""
    assert drawn(None, (2.0, 8, 0)) == ["8 done, 4.0/s"]


def test_progress_of_a_total_that_shrinks() -> None:
    """What is skipped is not waited for: the total is that of the moment."""
    totals = iter([10, 4])
    lines = drawn(lambda: next(totals), (0.1, 1, 0), (0.2, 2, 0))
    assert [line.split()[1] for line in lines] == ["1/10", "2/4"]


def test_progress_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line as wide as the terminal would not be drawn over, but below."""
    monkeypatch.setenv("COLUMNS", "40")
    (line,) = drawn(100_000, (3.0, 50_000, 0))
    assert len(line) == 39
