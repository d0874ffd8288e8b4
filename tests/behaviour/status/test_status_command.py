from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup.management.status_text import lines_of
from instance_lookup.operations.condition import (
    CacheCondition,
    Condition,
    ServiceCondition,
    State,
    StreamCondition,
    SubscriptionCondition,
)
from instance_lookup.operations.reports import Difference, Processes, Runway
from instance_lookup.operations.status import Status, get_status
from instance_lookup.operations.stored import Beat
from tests.behaviour.commands.support import Site as Commands
from tests.behaviour.commands.support import run
from tests.behaviour.status.support import cache_down, call
from tests.support.caches import cache_config
from tests.support.canary import CANARY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import Settings

    from tests.behaviour.status.support import Site
    from tests.support.redis_server import RedisServer


def told() -> Any:
    return run("instance_lookup_status")


def fields(out: str) -> dict[str, str]:
    """Return what is said of each thing."""
    return {line[:18].strip(): line[18:] for line in out.splitlines()}


def test_status_of_the_site(site: Site) -> None:
    """It shows what the processes of the site reported, not what the command knows."""
    site.look_up()
    site.report(call(), call())
    site.resolver.cache.reset_stats()
    done = told()
    shown = fields(done.out)
    assert done.code == 0
    assert done.out.startswith("healthy\n")
    assert shown["Config Service"] == "up"
    assert shown["Lookups"] == "0.0% from the cache, 0 from stale copies"
    assert shown["Calls a minute"] == "2"
    assert shown["Processes"] == "1 reported"


def test_status_without_reports(site: Site) -> None:
    """Where no process reports it claims nothing, and says what to do."""
    done = told()
    assert done.code == 0
    assert done.out.startswith("no trouble is known\n")
    assert fields(done.out)["Config Service"] == "not known"
    assert "Set REPORT_STATUS to True" in done.err


def test_status_before_the_first_report(site: Site, settings: Settings) -> None:
    """Where reports are on and there is none yet, it says when there will be."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "REPORT_STATUS": True}
    assert "2 s after its first lookup" in told().err


def test_status_service_down(site: Site) -> None:
    """With the service down it says so, with the error, and exits with 0: copies are served."""
    site.answer(500)
    for number in range(5):
        site.look_up(f"acme-{number}")
    site.report()
    done = told()
    shown = fields(done.out)
    assert done.code == 0
    assert done.out.startswith("degraded\n  The Config Service fails (status): stale copies are")
    assert shown["Config Service"].startswith("failing (status) for ")
    assert "breaker open, next try in " in shown["Config Service"]
    assert "Last error: The Config Service at http://127.0.0.1" in done.out


def test_status_cache_down(site: Site) -> None:
    """With the cache down it says so: what others reported is not known."""
    site.report(call())
    with cache_down():
        done = told()
    assert done.code == 0
    assert fields(done.out)["Cache"].startswith("down for ")
    assert fields(done.out)["Stale copies"] == "not known"
    assert "Processes" not in done.out
    assert "The cache 'default' failed to read all instances: OSError. So the" in done.err
    assert "Traceback" not in done.err


def test_status_both_down(site: Site) -> None:
    """With both down it is unhealthy, and exits with 2."""
    site.answer(500)
    with cache_down():
        site.look_up()
        done = told()
    assert done.code == 2
    assert done.out.startswith("unhealthy\n")
    assert done.err.endswith("The site is unhealthy.")


def test_status_json(site: Site) -> None:
    """JSON is one object, of the same function as the health endpoint."""
    site.look_up()
    site.report(call())
    found = run("instance_lookup_status", format="json").json
    assert found["state"] == "healthy"
    assert found["processes"] == {"reported": 1, "differing": []}
    assert found["reports"] == {"on": False, "failure": None}
    assert {*found} == {*get_status().as_dict(), "reports"}


def test_status_json_shows_no_secret(site: Site, settings: Settings) -> None:
    """No key and no token is in what it prints."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_TOKEN": CANARY}
    site.look_up()
    site.answer(500)
    site.look_up("globex")
    site.report(call(), call("globex", "status"))
    with cache_down():
        down = told()
    printed = [told(), down, run("instance_lookup_status", format="json")]
    assert CANARY not in "".join(done.out + done.err for done in printed)


def status(**parts: Any) -> Status:
    return Status(state=State.DEGRADED, why=("something",), at=1_000.0, **parts)


@pytest.mark.parametrize(
    ("parts", "name", "said"),
    [
        ({"service": ServiceCondition(up=True, failing_documents=2)}, "Config Service",
         "up, no usable answer for 2 documents"),
        ({"cache": CacheCondition(writable=False, failing_since=940.0)}, "Cache",
         "can be read, not written, for 1 min"),
        ({"cache": CacheCondition(up=False, failing_since=990.0, skipped_for=4.6)}, "Cache",
         "down for 10 s, next try in 5 s"),
        ({"subscription": SubscriptionCondition(state="deaf", deaf_since=940.0)}, "Subscription",
         "deaf for 1 min"),
        ({"subscription": SubscriptionCondition(state="heard", can_publish=False)}, "Subscription",
         "heard, cannot publish"),
        ({"stream": StreamCondition(state="lost", lost_since=940.0)}, "Stream", "lost for 1 min"),
        ({}, "Stream", "not used"),
        ({"counters": {"rejected": 3}}, "Rejected",
         "3 answers or cache entries that cannot be used"),
        ({}, "Rejected", "none"),
        ({"runway": Runway(3, 60.0, 120.0, 3_000.0)}, "Stale copies",
         "3: the first runs out in 1 min, half of them in 2 min, the last in 50 min"),
        ({"processes": Processes(2)}, "Processes", "2 reported"),
        ({}, "Calls a minute", "not known"),
    ],
)  # fmt: skip
def test_lines(parts: dict[str, Any], name: str, said: str) -> None:
    """Each thing has a line, in words."""
    assert fields("\n".join(lines_of(status(**parts))))[name] == said


def test_lines_of_a_process_that_differs() -> None:
    """A process that is not like the others is named, with what differs."""
    other = Difference("web-3:4711", "subscription", "deaf", "heard")
    *_, last = lines_of(status(processes=Processes(8, (other,))))
    assert last == "  web-3:4711: subscription is 'deaf', 'heard' elsewhere"


def beat(number: int, **parts: Any) -> Beat:
    condition = Condition(state=parts.pop("state", State.HEALTHY), at=1_000.0, **parts)
    return Beat(
        token=str(number),
        host="web",
        pid=number,
        started=0.0,
        version="1",
        settings="s",
        condition=condition,
        calls_a_minute=2.0,
    )


def test_status_together(site: Site) -> None:
    """Of several processes it says what is worst of each, and adds up the numbers."""
    from msgspec.structs import replace

    failing = ServiceCondition(
        up=False, failing_since=900.0, failed_at=950.0, reason="timeout", breaker="half_open"
    )
    longer = replace(failing, failing_since=800.0, failed_at=940.0, reason="status")
    beats = (
        beat(1, service=ServiceCondition(up=True, answered_at=990.0), counters={"hits": 3}),
        beat(2, service=failing, counters={"hits": 4, "misses": 1}),
        beat(3, service=longer, state=State.DEGRADED),
        beat(4, cache=CacheCondition(writable=False, failing_since=1.0)),
    )
    found = get_status(site.resolver, replace(site.fleet, processes=beats))
    assert found.state is State.DEGRADED
    assert (found.service.failing_since, found.service.reason) == (800.0, "timeout")
    assert (found.service.breaker, found.service.answered_at) == ("half_open", 990.0)
    assert (found.counters, found.calls_a_minute) == ({"hits": 7, "misses": 1}, 8.0)
    assert (found.cache.writable, found.cache.failing_since) == (False, 1.0)


PROCESS = """
import django, sys
django.setup()
from instance_lookup import LookupContext, LookupUser, get_resolver
get_resolver().resolve(LookupContext(LookupUser("olga"), instance_id="acme"))
get_resolver().invalidate_cache("acme")
print("looked up", flush=True)
sys.stdin.read()
"""


@pytest.mark.full
def test_status_of_several_processes(
    site: Site, redis_server: RedisServer, tmp_path: Path, settings: Settings
) -> None:
    """Real processes report by themselves, and a shell shows them all."""
    config = cache_config("redis", redis_url=redis_server.url())
    del config["OPTIONS"]["retry"]
    config["LOCATION"] = redis_server.url()
    options = {**settings.INSTANCE_LOOKUP, "REPORT_STATUS": True}
    settings.CACHES = {**settings.CACHES, "default": config}
    commands = Commands(tmp_path)
    commands.configure(CACHES={"default": config}, INSTANCE_LOOKUP=options)
    with ExitStack() as stack:
        for _ in range(3):
            process = stack.enter_context(start(commands))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"looked up\n"
        wait_until(lambda: len(site.fleet.processes) == 3)
        done = commands.run("instance_lookup_status", "--format", "json")
        assert (done.code, done.json["processes"]["reported"]) == (0, 3)
        assert done.json["service"]["up"] is True
        wait_until(lambda: [one.id for one in site.fleet.instances] == ["acme"])
        assert sum(minute.calls for minute in site.fleet.minutes) == 3
    caches["default"].clear()
    assert CANARY not in json.dumps(done.json)


def start(commands: Commands) -> subprocess.Popen[bytes]:
    """Start a process that looks up and stays until its input ends."""
    import os

    from tests.behaviour.commands.support import ROOT

    path = os.pathsep.join([str(commands.directory), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "site_settings"}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
