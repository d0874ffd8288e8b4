from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import get_resolver
from tests.behaviour.commands.support import (
    BACKENDS_WITHOUT_LIST,
    NO_LIST,
    SECRET,
    TOKEN,
    json_answer,
    run,
)
from tests.support.caches import use_cache
from tests.support.servers import Answer, free_port, mute
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService
    from tests.support.redis_server import RedisServer
    from tests.support.servers import Received, Script

WARM = "warm_instance_cache"


def warm(*args: str, **options: Any) -> Any:
    return run(WARM, *args, **options)


def is_cached(instance_id: str) -> bool:
    return get_resolver().cache.has(instance_id)


@pytest.mark.parametrize("cache_kind", ["locmem", "filebased", "db", "redis", "django-redis"])
def test_warm_stores_what_was_named(cached: ConfigService) -> None:
    """Each named instance is warmed and served from the cache; no other one is asked for."""
    done = warm("acme", "globex")
    assert (done.code, done.out) == (0, "Warmed 2 instances.\n")
    assert is_cached("acme")
    assert is_cached("globex")
    assert set(cached.asked) == {"/instances/acme", "/instances/globex"}


def test_warm_again_fetches_again(service: ConfigService) -> None:
    """Warming asks the service, also when the cache has an entry."""
    warm("acme")
    warm("acme")
    assert service.asked == ["/instances/acme"] * 2


def test_warm_duplicates_asks_once(service: ConfigService, tmp_path: Path) -> None:
    """An id that several sources name is asked for once."""
    file = tmp_path / "ids"
    file.write_text("acme\nglobex\n")
    done = warm("acme", "acme", file=str(file))
    assert done.out == "Warmed 2 instances.\n"
    assert service.asked == ["/instances/acme", "/instances/globex"]


def test_warm_all_pages_through_the_list(service: ConfigService) -> None:
    """--all reaches the instances of every page, and named ones beside them."""
    service.ids = [f"i{number}" for number in range(5)]
    done = warm("i0", all=True, concurrency=2, format="json")
    assert done.code == 0
    assert sorted(done.json["warmed"]) == service.ids


def test_warm_file_with_comments_and_blank_lines(service: ConfigService, tmp_path: Path) -> None:
    """A file may be commented; a byte order mark and CRLF are no part of an id."""
    file = tmp_path / "ids.txt"
    file.write_bytes(b"\xef\xbb\xbfacme\r\n\r\n# the others\r\n  globex  # since May\n")
    assert warm(file=str(file)).out == "Warmed 2 instances.\n"
    assert service.asked == ["/instances/acme", "/instances/globex"]


def test_warm_stdin_is_read(service: ConfigService, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--file -`` reads standard input."""
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"acme\n")))
    assert warm(file="-").out == "Warmed 1 instance.\n"


def test_warm_closed_stdin_is_a_usage_error(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input that is closed is a file that cannot be read."""
    monkeypatch.setattr("sys.stdin", None)
    done = warm(file="-")
    assert done.code == 1
    assert done.err == "Cannot read '-': standard input is closed."


def test_warm_file_without_ids_warms_none(service: ConfigService, tmp_path: Path) -> None:
    """A list that came out empty is no mistake of usage."""
    file = tmp_path / "ids"
    file.write_text("# none yet\n")
    done = warm(file=str(file))
    assert (done.code, done.out) == (0, "Warmed 0 instances.\n")


@pytest.mark.parametrize("name", ["missing", ".", "nul\0"])
def test_warm_unreadable_file_is_a_usage_error(service: ConfigService, name: str) -> None:
    """A file that cannot be read leaves with 1, before anything was asked."""
    done = warm("acme", file=name)
    assert done.code == 1
    assert done.err.startswith(f"Cannot read {name!r}: ")
    assert service.asked == []


def test_warm_without_ids_is_a_usage_error(service: ConfigService) -> None:
    """Without ids the command fails: it does not mean "all"."""
    done = warm()
    assert (done.code, done.out) == (1, "")
    assert done.err == "Name instances, a --file of them, or --all."


def test_warm_malformed_ids_fail_alone(service: ConfigService, tmp_path: Path) -> None:
    """A bad id in a file fails alone, with one printable line."""
    file = tmp_path / "ids"
    file.write_bytes(b"../etc\nb\xffd\nacme\n" + b"x" * 500 + b"\na\x1b[31m\n")
    done = warm(file=str(file), format="text")
    lines = done.err.splitlines()
    assert done.code == 2
    assert done.out == "Warmed 1 of 5 instances.\n"
    assert sum(": INVALID_CONTEXT: " in line for line in lines) == 4
    assert any(line.startswith("b\\udcffd: INVALID_CONTEXT") for line in lines)
    assert "\x1b" not in done.err
    assert service.asked == ["/instances/acme"]


def test_warm_empty_id_is_named(service: ConfigService) -> None:
    """An empty id is reported on a line that shows it."""
    assert "'': INVALID_CONTEXT: " in warm("").err


def test_warm_service_down_names_each(settings: Settings, service: ConfigService) -> None:
    """A dead service is one line for each id: which, and why; no secrets."""
    settings.INSTANCE_LOOKUP = {
        **settings.INSTANCE_LOOKUP,
        "CONFIG_SERVICE_URL": f"http://127.0.0.1:{free_port()}",
    }
    done = warm("acme", "globex")
    assert done.code == 2
    for name in ("acme", "globex"):
        assert f"{name}: CONFIG_SERVICE_UNAVAILABLE (unreachable): " in done.err
    assert done.err.endswith("2 of 2 failed: acme, globex.") or done.err.endswith("globex, acme.")
    assert TOKEN not in done.err
    assert "Traceback" not in done.err


def test_warm_failures_each_with_its_reason(service: ConfigService) -> None:
    """Unknown, refused and broken instances are told apart, and the others are warmed."""
    service.scripts = {
        "/instances/globex": Answer(403),
        "/instances/initech": json_answer({"instance_id": "acme", "api_keys": {"openai": SECRET}}),
    }
    done = warm("acme", "globex", "initech", "unknown", format="json")
    errors = {one["instance_id"]: (one["error"], one["reason"]) for one in done.json["failed"]}
    assert done.code == 2
    assert done.json["warmed"] == ["acme"]
    assert errors == {
        "globex": ("ACCESS_DENIED", None),
        "initech": ("CONFIG_SERVICE_UNAVAILABLE", "rejected"),
        "unknown": ("INSTANCE_NOT_FOUND", None),
    }
    assert SECRET not in done.out + done.err


def test_warm_many_failures_names_the_first(service: ConfigService) -> None:
    """The last line stays readable, however much failed."""
    done = warm(*(f"unknown{number:02}" for number in range(12)), concurrency=1, format="json")
    assert done.err.endswith("unknown09 and 2 more.")


def test_warm_unexpected_error_fails_alone(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of code that the project brings along costs one instance, and is logged."""
    resolver = get_resolver()
    refresh = resolver.refresh

    def broken(instance_id: str) -> object:
        if instance_id == "globex":
            raise KeyError(SECRET)
        return refresh(instance_id)

    monkeypatch.setattr(resolver, "refresh", broken)
    done = warm("acme", "globex", format="json")
    assert done.code == 2
    assert done.json["warmed"] == ["acme"]
    assert done.json["failed"][0]["error"] == "KeyError"
    assert SECRET not in done.out
    assert "instance 'globex': KeyError" in caplog.text


def test_warm_cache_that_keeps_nothing_fails(settings: Settings, service: ConfigService) -> None:
    """Fetched and not stored is not warmed."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    done = warm("acme")
    assert done.code == 2
    assert "acme: CACHE_ERROR: The cache did not keep 'acme'" in done.err


def test_warm_redis_down_fails(
    settings: Settings, service: ConfigService, own_redis_server: RedisServer
) -> None:
    """When Redis is down nothing is warmed, and the exit code is 2."""
    with use_cache("django-redis", redis_url=own_redis_server.url()) as alias:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        own_redis_server.kill()
        done = warm("acme")
    assert done.code == 2
    assert "acme: CACHE_ERROR: The cache 'instances' failed to read 'acme'" in done.err


def test_warm_list_broken_off_keeps_what_came(service: ConfigService) -> None:
    """A list that ends in an error leaves with 4, after warming what it had named."""
    service.scripts = {"/instances?cursor=2": Answer(500)}
    done = warm(all=True, format="json")
    assert done.code == 4
    assert sorted(done.json["warmed"]) == ["acme", "globex"]
    assert done.json["list_error"]["reason"] == "status"
    assert "did not list its instances (CONFIG_SERVICE_UNAVAILABLE, status)" in done.err


def test_warm_list_in_a_circle_ends(service: ConfigService) -> None:
    """A service whose cursors lead back does not keep the command for ever."""
    service.scripts = {
        "/instances": json_answer({"instances": ["acme"], "next": "1"}),
        "/instances?cursor=1": json_answer({"instances": ["globex"], "next": "2"}),
        "/instances?cursor=2": json_answer({"instances": ["initech"], "next": "1"}),
    }
    done = warm(all=True, format="json")
    assert done.code == 4
    assert sorted(done.json["warmed"]) == ["acme", "globex", "initech"]
    assert done.json["list_error"]["reason"] == "rejected"


def test_warm_list_refused_leaves_with_4(service: ConfigService) -> None:
    """A 403 for the list is no list."""
    service.scripts = {"/instances": Answer(403)}
    done = warm(all=True)
    assert (done.code, done.out) == (4, "Warmed 0 instances.\n")
    assert "(ACCESS_DENIED)" in done.err


@pytest.mark.parametrize("answer", NO_LIST)
def test_warm_all_without_a_list_says_what_to_do(service: ConfigService, answer: Answer) -> None:
    """--all without a list warms the named ids only, and says what to do."""
    service.scripts = {"/instances": answer}
    done = warm("acme", all=True, format="json")
    assert done.code == 4
    assert done.json["warmed"] == ["acme"]
    assert done.json["list_error"]["reason"] == "no_list"
    assert done.err.endswith(
        f"The Config Service has no list of instances ({answer.status})."
        " Name the ids, or give a --file of them."
    )


@pytest.mark.parametrize("backend", BACKENDS_WITHOUT_LIST)
def test_warm_all_of_a_backend_without_a_list(settings: Settings, backend: type) -> None:
    """A backend of the project's own is told of in the same way."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": backend}
    done = warm("acme", all=True, format="json")
    assert done.code == 4
    assert done.json["warmed"] == ["acme"]
    assert done.json["list_error"]["reason"] == "no_list"
    assert done.err.endswith("Name the ids, or give a --file of them.")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_warm_list_that_ends_in_a_404_is_broken_off(service: ConfigService, status: int) -> None:
    """A service that listed its first page has a list; that its next page is gone is a failure."""
    service.scripts = {"/instances?cursor=2": Answer(status)}
    done = warm(all=True, format="json")
    assert done.code == 4
    assert done.json["list_error"]["reason"] != "no_list"
    assert "did not list its instances" in done.err


def test_warm_ttl_is_stored(service: ConfigService) -> None:
    """--ttl decides how long the entries stay fresh, for all processes that read them."""
    warm("acme", ttl=1234.0)
    entry = get_resolver().cache.get("acme")
    assert entry is not None
    assert entry.ttl == 1234.0


@pytest.mark.parametrize(
    ("ttl", "complaint"),
    [(-1.0, "must be a positive number"), (7200.0, "STALE_MAX_AGE"), (float("nan"), "positive")],
)
def test_warm_impossible_ttl_is_a_usage_error(
    service: ConfigService, ttl: float, complaint: str
) -> None:
    """A ttl that the settings would not allow is refused before anything is asked."""
    done = warm("acme", ttl=ttl)
    assert done.code == 1
    assert complaint in done.err
    assert service.asked == []


@pytest.mark.parametrize("concurrency", [0, -1, 65])
def test_warm_impossible_concurrency_is_a_usage_error(
    service: ConfigService, concurrency: int
) -> None:
    """--concurrency must be at least one and at most 64."""
    done = warm("acme", concurrency=concurrency)
    assert done.code == 1
    assert done.err.endswith(f"--concurrency must be from 1 to 64, not {concurrency}.")


def test_warm_missing_cache_alias_is_a_usage_error(
    settings: Settings, service: ConfigService
) -> None:
    """A mistake in the settings is a sentence, not a traceback."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "nowhere"}
    done = warm("acme")
    assert done.code == 1
    assert "nowhere" in done.err


def test_warm_concurrency_is_used_and_bounded(service: ConfigService) -> None:
    """N calls are under way together, and never more."""
    service.ids = [f"i{number}" for number in range(10)]
    lock, barrier = threading.Lock(), threading.Barrier(3, timeout=10)
    now, most = 0, 0

    def answer(request: Received) -> Script:
        nonlocal now, most
        if request.path == "/instances/i0":  # goes ahead of the others
            return service.answer(request)
        with lock:
            now += 1
            most = max(most, now)
        barrier.wait()
        with lock:
            now -= 1
        return service.answer(request)

    service.server.answers = answer
    assert warm(*service.ids, concurrency=3).code == 0
    assert most == 3


def test_warm_fail_fast_begins_no_other(service: ConfigService) -> None:
    """With --fail-fast nothing is asked for after the first failure."""
    done = warm("acme", "unknown", "globex", concurrency=1, fail_fast=True, format="json")
    assert done.code == 2
    assert done.json["warmed"] == ["acme"]
    assert service.asked == ["/instances/acme", "/instances/unknown"]


def test_warm_fail_fast_tells_of_what_was_under_way(service: ConfigService) -> None:
    """A call that was under way when another failed is still told about, and the last one."""
    failed = threading.Event()

    def answer(request: Received) -> Script:
        if request.path == "/instances/acme":
            assert failed.wait(10)
        elif request.path == "/instances/unknown":
            threading.Timer(0.2, failed.set).start()
        return service.answer(request)

    service.server.answers = answer
    ids = ["initech", "acme", "unknown", "globex"]
    done = warm(*ids, concurrency=2, fail_fast=True, format="json")
    assert done.json["warmed"] == ["initech", "acme"]
    assert "/instances/globex" not in service.asked


def test_warm_dry_run_asks_for_the_list_only(service: ConfigService) -> None:
    """--dry-run names what would be warmed; no configuration is asked for or stored."""
    done = warm("other", all=True, dry_run=True)
    assert done.code == 0
    assert done.out == "other\nacme\nglobex\ninitech\nWould warm 4 instances.\n"
    assert service.asked == ["/instances", "/instances?cursor=2"]
    assert not is_cached("acme")


def test_warm_dry_run_reports_malformed_ids(service: ConfigService) -> None:
    """--dry-run reports malformed ids as failures."""
    done = warm("acme", "no/id", dry_run=True, format="json")
    assert done.code == 2
    assert done.json["would_warm"] == ["acme"]
    assert done.json["failed"][0]["instance_id"] == "no/id"


def test_warm_locmem_is_warned_about(service: ConfigService) -> None:
    """Warming a cache in the command's own memory has no effect, so the command warns."""
    assert "LocMemCache" in warm("acme").err


def test_warm_asks_as_the_site(settings: Settings, service: ConfigService) -> None:
    """The service sees CONFIG_SERVICE_USER_ID, so no fetch is made in the name of a user."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_USER_ID": "warmer"}
    warm(all=True)
    assert {request.headers["X-User-ID"] for request in service.server.received} == {"warmer"}


def test_warm_slow_first_stays_alone(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first id is fetched alone: no other call begins before it has ended."""
    monkeypatch.setattr("instance_lookup.warming._AT_A_TIME", 0.001)
    beside: list[int] = []

    def answer(request: Received) -> Script:
        if request.path == "/instances/acme":
            threading.Event().wait(0.2)
            beside.append(len(service.asked))
        return service.answer(request)

    service.server.answers = answer
    assert warm("acme", "globex", "initech").code == 0
    assert beside == [1]


def test_warm_hears_a_ctrl_c_that_wakes_nothing(settings: Settings, service: ConfigService) -> None:
    """Ctrl-C ends the command, also when it comes just before the wait or in another thread."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_TIMEOUT": 60}
    service.scripts["/instances/acme"] = mute()
    commander = threading.get_ident()

    def interrupt() -> None:
        here = threading.get_ident()
        wait_until(lambda: service.asked)
        wait_until(lambda: sys._current_frames()[commander].f_code.co_name == "wait")
        signal.pthread_kill(here, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool, within(1):
        interrupted = pool.submit(interrupt)
        assert warm("acme").code == 130
        interrupted.result()
    service.server.stop()
    wait_until(lambda: "instance-lookup-warm" not in [each.name for each in threading.enumerate()])
