from __future__ import annotations

import json
import os
import subprocess
import sys
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from instance_lookup import CacheError, events, get_resolver
from instance_lookup.inspection import State
from instance_lookup.operations import reporter as reporting
from instance_lookup.operations.index import read_answers
from instance_lookup.operations.reporter import Reporter, reporter
from instance_lookup.operations.reports import Fleet, Processes, Runway, read_reports
from instance_lookup.operations.status import get_status
from instance_lookup.operations.stored import (
    MINUTES,
    SHARD_SIZE,
    Form,
    Minute,
    Minutes,
    Seen,
    beat_key,
    minutes_key,
    newest,
    shard_of,
)
from tests.behaviour.commands.support import ROOT, store
from tests.behaviour.status.support import cache_down, call, everything_in
from tests.support.canary import CANARY
from tests.support.forks import FORKS
from tests.support.lookups import TWINS, Twin, asks
from tests.support.servers import Answer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.behaviour.status.support import Site

KINDS = ["locmem", "filebased", "db", "redis", "django-redis"]


def seen(instance_id: str = "acme", *, at: float = 1_000.0, **fields: Any) -> Seen:
    return Seen(id=instance_id, seen=at, **fields)


def fleet(*instances: Seen, at: float = 1_000.0, **fields: Any) -> Fleet:
    return Fleet(is_on=True, at=at, stale_max_age=3600.0, instances=instances, **fields)


@pytest.mark.parametrize("cache_kind", KINDS)
def test_reports_on_each_cache(cached: Site) -> None:
    """Processes, the last hour, instances and answers are read from each kind of cache."""
    cached.look_up()
    cached.report(call(), call("globex"))
    cached.report(call(outcome="timeout", status=None, seconds=2.0))
    found = cached.fleet
    assert [beat.pid for beat in found.processes] == [os.getpid()] * 2
    assert found.minutes[-1].calls + found.minutes[-2].calls == 3
    assert [one.id for one in found.instances] == ["acme", "globex"]
    acme = found.instances[0]
    assert (acme.name, acme.owner, acme.tenant_id) == ("Acme Inc", "olga", "t1")
    assert (found.state_of(acme), acme.failure) == (State.FRESH, "timeout")
    assert [one.outcome for one in read_answers(get_resolver(), "acme")] == ["timeout", "ok"]


def test_reports_while_the_cache_is_down(site: Site) -> None:
    """With the cache down the look says so, and is empty."""
    site.report(call())
    with cache_down():
        found = site.fleet
        with pytest.raises(CacheError):
            read_answers(site.resolver, "acme")
    assert found.failure == "The cache 'default' failed to read all instances: OSError."
    assert (found.processes, found.instances, len(found.minutes)) == ((), (), MINUTES)


def test_reports_show_no_secret(site: Site, settings: Settings) -> None:
    """No key of a configuration and no token is in what processes report."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_TOKEN": CANARY}
    site.look_up()
    site.answer(500)
    site.look_up("globex")
    site.resolver.invalidate_cache("acme")
    site.report(call(), call("globex", "status"))
    assert "instance_status:seen" in everything_in("default")
    assert CANARY not in everything_in("default")


def test_reports_are_encrypted_as_entries_are(site: Site, settings: Settings) -> None:
    """With ``COMPRESS_ABOVE`` (or keys) nothing of a report is plain in the cache."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "COMPRESS_ABOVE": 1}
    site.report(call())
    assert '"token"' not in everything_in("default")
    assert len(site.fleet.processes) == 1


def test_reports_of_another_release(site: Site) -> None:
    """What cannot be read is as if it were not there."""
    from django.core.cache import caches

    caches["default"].set(beat_key(3), '{"v": 7}')
    caches["default"].set(beat_key(4), 12)
    site.report()
    assert len(site.fleet.processes) == 1


def test_report_survives_an_outage(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be reported is reported later; the log says so once."""
    one = Reporter()
    with cache_down():
        site.report(call(), reporter=one)
        site.report(reporter=one)
    assert not site.fleet.instances
    site.report(reporter=one)
    assert [each.id for each in site.fleet.instances] == ["acme"]
    lines = [record.message for record in caplog.records if "status of this" in record.message]
    assert [line.partition("(")[0] for line in lines] == [
        "The status of this process is not reported to the cache 'default' ",
        "Reporting the status of this process works again.",
    ]


def test_slot_is_kept(site: Site) -> None:
    """A process has one slot, however often it reports."""
    one = site.report()
    site.report()
    site.report(reporter=one)
    assert len(site.fleet.processes) == 2


def test_slot_lost(site: Site) -> None:
    """A process whose slot another one has taken takes one of its own."""
    from django.core.cache import caches

    one = site.report()
    caches["default"].delete(beat_key(0))  # it stood still for too long
    site.report()
    site.report(reporter=one)
    assert len(site.fleet.processes) == 2


def test_slots_all_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a slot reports no heartbeat, but still what it saw."""
    monkeypatch.setattr(reporting, "SLOTS", 1)
    site.report()
    site.report(call())
    assert len(site.fleet.processes) == 1
    assert len(site.fleet.instances) == 1


def test_slot_taken_at_the_same_moment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that another process takes first is left to it."""
    from django.core.cache import caches

    one, other = Reporter(), caches["default"]
    look = type(other).get_many
    held = {beat_key(0): "{}"}

    def looks_and_loses(cache: Any, keys: Any, version: Any = None) -> Any:
        found = look(cache, keys, version)
        other.set_many(held)
        return found

    monkeypatch.setattr(type(other), "get_many", looks_and_loses)
    site.report(reporter=one)
    monkeypatch.undo()
    assert other.get(beat_key(0)) == "{}"
    assert len(site.fleet.processes) == 1


def test_last_hour_is_adopted(site: Site) -> None:
    """A new process in the slot of one that has ended goes on with its last hour."""
    from django.core.cache import caches

    site.report(call())
    caches["default"].delete(beat_key(0))
    two = site.report(call())
    site.report(reporter=two)
    assert sum(minute.calls for minute in site.fleet.minutes) == 2
    assert caches["default"].get(minutes_key(1)) is None


def test_minutes_of_more_than_an_hour_ago(site: Site) -> None:
    """What a process that has ended left behind counts for an hour."""
    from django.core.cache import caches

    old = Minutes(minutes=[Minute(minute=int(time() // 60) - MINUTES, calls=5)])
    caches["default"].set(minutes_key(7), Form(site.resolver.settings).encode(old, minutes_key(7)))
    assert sum(minute.calls for minute in site.fleet.minutes) == 0


def test_lookups_are_counted_by_source(site: Site) -> None:
    """The minutes tell fresh entries, stale copies, "does not exist" and the rest apart."""
    one = site.report()
    store("acme", owner="olga")
    store("stale", age=1_000.0, owner="olga")
    site.answer(500)
    assert [site.look_up(name) for name in ("acme", "acme", "stale", "absent")] == [
        "cache",
        "cache",
        "stale_cache",
        "CONFIG_SERVICE_UNAVAILABLE",
    ]
    site.report(reporter=one)
    last = Minute(minute=0)
    for each in site.fleet.minutes:
        last.add(each)
    assert (last.fresh, last.near, last.stale, last.negative, last.missed) == (2, 0, 1, 0, 1)
    assert get_status(site.resolver, site.fleet).counters["stale_hits"] == 1


def test_instance_that_is_made_up(site: Site) -> None:
    """An id that the service never answered for is not listed: it would push out others."""
    site.report(call("made-up", "missing", status=404), call("another", "timeout", status=None))
    assert site.fleet.instances == ()
    assert read_answers(site.resolver, "made-up") == []


def test_instance_on_a_stale_copy(site: Site) -> None:
    """An instance is listed by its lookups, too: first from the cache, then from a stale copy."""
    one = Reporter()
    for source in ("cache", "stale_cache"):
        one.recorder.record(events.Lookup(source, "ok", 0.01, instance_id="acme"))
        one.recorder._news["acme"].at -= 5.0  # it is settled
        site.report(reporter=one)
        assert [each.source for each in site.fleet.instances] == [source]


def test_instance_that_is_gone(site: Site) -> None:
    """A known instance that is gone is still found, by its owner too."""
    site.look_up()
    site.report(call())
    site.resolver.invalidate_cache("acme")
    site.report(call(outcome="missing", status=404))
    page = site.fleet.find("olga")
    assert [site.fleet.state_of(one) for one in page.instances] == [State.ABSENT]


def test_instance_that_does_not_exist_now(site: Site) -> None:
    """A remembered "does not exist" is a state of its own."""
    site.report(call())
    site.server.answers = Answer(404)
    site.look_up()
    site.report(call(outcome="missing", status=404))
    assert [site.fleet.state_of(one) for one in site.fleet.instances] == [State.NEGATIVE]


def test_instance_unreadable(site: Site) -> None:
    """An entry that cannot be read is a state of its own."""
    from django.core.cache import caches

    site.look_up()
    caches["default"].set("instance_config:acme", "not an entry")
    site.report(call())
    assert [site.fleet.state_of(one) for one in site.fleet.instances] == [State.UNREADABLE]


def test_answers_are_bounded(site: Site) -> None:
    """Of an instance the last ten answers are kept, the newest first."""
    now = time()
    for start in (0, 8):
        calls = [call(began=now - 100 + n, request_id=f"r{n}") for n in range(start, start + 8)]
        site.report(*calls)
    ids = [one.request_id for one in read_answers(site.resolver, "acme")]
    assert ids == [f"r{n}" for n in range(15, 5, -1)]


def test_index_keeps_the_newest() -> None:
    """A full part of the index drops what was not called for longest."""
    kept = newest(seen(str(number), at=float(number)) for number in range(SHARD_SIZE + 1))
    assert len(kept) == SHARD_SIZE
    assert "0" not in kept


def test_index_has_room() -> None:
    """10,000 instances fit, though their ids do not spread evenly."""
    sizes: dict[int, int] = {}
    for number in range(10_000):
        shard = shard_of(f"tenant-{number}")
        sizes[shard] = sizes.get(shard, 0) + 1
    assert max(sizes.values()) <= SHARD_SIZE


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (seen(), State.ABSENT),
        (seen(cached_at=900.0, ttl=300.0), State.FRESH),
        (seen(cached_at=600.0, ttl=300.0), State.STALE),
        (seen(cached_at=900.0, ttl=300.0, expired=True), State.STALE),
        (seen(cached_at=-2600.0, ttl=300.0, expired=True), State.ABSENT),
        (seen(cached_at=990.0, ttl=30.0, negative=True), State.NEGATIVE),
        (seen(cached_at=900.0, ttl=30.0, negative=True), State.ABSENT),
    ],
)
def test_state_of_instance(one: Seen, state: State) -> None:
    """The state follows from when the copy was fetched, as of now."""
    assert fleet().state_of(one) is state


def test_runway() -> None:
    """It says when the first, the median and the last of the stale copies run out."""
    failing = [
        seen(str(age), cached_at=1_000.0 - age, ttl=300.0, source="stale_cache")
        for age in (400, 1_000, 2_600)
    ]
    fresh = seen("fresh", cached_at=990.0, ttl=300.0, source="stale_cache")
    idle = seen("idle", cached_at=100.0, ttl=300.0)
    assert fleet(*failing, fresh, idle).runway == (
        Runway(3, first=1000.0, median=2600.0, last=3200.0)
    )


def test_runway_while_the_service_fails(site: Site) -> None:
    """While the service fails each stale copy counts: the next lookup gets it."""
    site.report()
    site.answer(500)
    site.look_up("globex")
    site.report()
    found = replace(site.fleet, at=1_000.0, instances=(seen("idle", cached_at=100.0, ttl=300.0),))
    assert found.runway.count == 1
    assert replace(found, processes=()).runway.count == 0


def test_differences(site: Site, settings: Settings) -> None:
    """It names the process that is not like the others, and in what."""
    for _ in range(2):
        site.report()
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_TTL": 100}
    site.report()
    (found,) = site.fleet.differences
    assert (found.what, found.process) == ("settings", site.fleet.processes[0].name)
    assert found.is_ != found.others


INSTANCES = (
    seen("acme", owner="olga", tenant_id="t1", cached_at=900.0, ttl=300.0),
    seen("globex", name="Globe", tenant_id="t2", cached_at=400.0, ttl=300.0),
    seen("initech", owner="Olga", cached_at=990.0, ttl=30.0, negative=True),
)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["acme", "globex", "initech"]),
        ({"text": "OLGA"}, ["acme", "initech"]),
        ({"text": "glob"}, ["globex"]),
        ({"state": State.STALE}, ["globex"]),
        ({"tenant": "t1"}, ["acme"]),
        ({"order": "age"}, ["initech", "acme", "globex"]),
        ({"order": "age", "reverse": True}, ["globex", "acme", "initech"]),
        ({"order": "purged_in"}, ["globex", "acme", "initech"]),
        ({"order": "owner"}, ["initech", "acme", "globex"]),
        ({"page": 2, "per_page": 2}, ["initech"]),
        ({"page": 9, "per_page": 2}, ["initech"]),
    ],
)
def test_find(options: dict[str, Any], ids: list[str]) -> None:
    """Instances are found by text, state and tenant, in any order, page by page."""
    assert [one.id for one in fleet(*INSTANCES).find(**options).instances] == ids


def test_find_in_an_unknown_order() -> None:
    """An order that there is not is an error, which names those that there are."""
    with pytest.raises(ValueError, match="choose one of id, age"):
        fleet().find(order="colour")


@pytest.fixture
def reporting_site(site: Site, settings: Settings) -> Iterator[Site]:
    """The site with ``REPORT_STATUS``."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "REPORT_STATUS": True}
    reporter._start_over()  # as in a new process
    reporter.recorder._start_over()
    yield site
    reporter.stop()


def test_thread_reports(reporting_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call of the service has a thread report this process."""
    monkeypatch.setattr(reporting, "_FIRST", 0.0)
    events.tell(call())
    events.tell(call("globex", "timeout"))  # one thread is enough
    wait_until(lambda: len(reporting_site.fleet.processes) == 1)
    wait_until(lambda: [one.id for one in reporting_site.fleet.instances] == ["acme"])
    assert json.loads(json.dumps(get_status(None, reporting_site.fleet).as_dict()))[
        "processes"
    ] == {
        "reported": 1,
        "differing": [],
    }


def test_process_that_reports_knows_of_all(
    reporting_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all report is known without I/O, from the last look; not for ever."""
    assert get_status().processes is None
    reporting_site.report()
    reporter.report(reporting_site.resolver)
    reporting_site.report()
    reporter.report(reporting_site.resolver)  # within a minute: it does not look again
    status = get_status()
    assert (status.processes, status.calls_a_minute) == (Processes(2), 0.0)
    assert status.runway == Runway(0)
    now = time()
    monkeypatch.setattr(reporting, "time", lambda: now + 60.0)
    reporter.report(reporting_site.resolver)
    assert get_status().processes == Processes(3)
    monkeypatch.setattr(reporting, "time", lambda: now + 300.0)
    assert get_status().processes is None


@pytest.mark.parametrize("twin", TWINS)
def test_lookups_report(reporting_site: Site, monkeypatch: pytest.MonkeyPatch, twin: Twin) -> None:
    """Lookups, sync and async, put the instance and the service's answer into the reports."""
    monkeypatch.setattr(reporting, "_SETTLED", -1.0)
    resolver = reporting_site.resolver
    for source in ("service", "cache"):
        assert twin(resolver, "resolve", asks()).source == source
    reporter.report(resolver)
    (acme,) = reporting_site.fleet.instances
    assert (acme.id, acme.name, acme.outcome) == ("acme", "Acme Inc", "ok")
    (answer,) = read_answers(resolver, "acme")
    assert (answer.status, answer.failed) == (200, False)
    assert answer.request_id == reporting_site.server.received[0].headers["X-Request-ID"]


FORK = """
import django, os
django.setup()
from instance_lookup.events import ServiceCall
from instance_lookup.operations.reporter import reporter
call = ServiceCall("instance", "acme", "ok", 200, 1.0, 0.1, "r")
reporter.watch(call)
ours = reporter._thread, reporter._token
pid = FORK
if not pid:
    theirs = reporter.recorder.take(9, ended_by=9e9)
    reporter.watch(call)
    is_own = reporter._thread not in (None, ours[0]) and reporter._token != ours[1]
    os._exit(0 if is_own and not theirs else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize(
    "fork", [FORKS["by Python"], pytest.param(FORKS["below Python"], marks=pytest.mark.full)]
)
def test_forked_child_reports_by_itself(fork: str) -> None:
    """A child has a thread and a slot of its own, and reports nothing of its parent's."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK.replace("FORK", fork)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def test_nothing_is_reported_unless_asked(site: Site) -> None:
    """Without ``REPORT_STATUS`` nothing watches."""
    assert reporter.watch not in events.watchers
    site.look_up()
    assert not read_reports(site.resolver).is_on


def test_settings_that_are_wrong(settings: Settings) -> None:
    """Settings that are no dict are left to the checks."""
    settings.INSTANCE_LOOKUP = None
    assert reporter.watch not in events.watchers
