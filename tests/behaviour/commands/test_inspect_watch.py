"""``inspect_instance_cache --watch``: one snapshot after another."""

from __future__ import annotations

import json
import os
import pty
import signal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from instance_lookup import get_resolver
from instance_lookup.management.screen import one_screen
from instance_lookup.testing.cache import faulty_cache
from tests.behaviour.commands.support import SECRET, TOKEN, Run, run, store
from tests.support.caches import use_cache
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService, Site
    from tests.support.redis_server import RedisServer

# Between snapshots the command looks after the connections of databases.
pytestmark = pytest.mark.django_db
MODULE = "instance_lookup.management.commands.inspect_instance_cache"


class Terminal(StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


class Pauses:
    """Stands in for ``sleep``: notes the seconds, does what is to happen, and ends with Ctrl-C."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self.happens = list(happens)
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if not self.happens:
            raise KeyboardInterrupt
        self.happens.pop(0)()


def watch(monkeypatch: pytest.MonkeyPatch, pauses: Pauses, *args: str, **options: Any) -> Run:
    monkeypatch.setattr(f"{MODULE}.sleep", pauses)
    return run("inspect_instance_cache", *args, watch=True, **options)


def test_watch_shows_what_changes_between_snapshots(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stdout is no terminal the snapshots follow each other; Ctrl-C leaves with 130."""
    done = watch(monkeypatch, Pauses(lambda: store("acme", age=400)), "acme", "globex")
    assert (done.code, done.err.splitlines()[-1]) == (130, "Interrupted.")
    first, second, *_ = done.out.split("\n\n")
    assert first.splitlines()[0].endswith(": Of 2 instances none has a stale copy.")
    assert second.splitlines()[0].endswith(": Of 2 instances 1 has a stale copy.")
    assert second.splitlines()[2].split()[:2] == ["acme", "stale"]
    assert "\x1b" not in done.out


@pytest.mark.parametrize(("options", "seconds"), [({}, 2.0), ({"interval": 0.5}, 0.5)])
def test_watch_waits_between_snapshots(
    service: ConfigService,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    seconds: float,
) -> None:
    """Two seconds pass between two looks, or --interval."""
    pauses = Pauses(lambda: None)
    watch(monkeypatch, pauses, "acme", **options)
    assert pauses.seconds == [seconds, seconds]


def test_watch_stale_shows_stale_copies_only(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--stale chooses and sorts each snapshot; two stale copies "have" one."""
    for name, age in (("acme", 400), ("globex", 3000), ("initech", 10)):
        store(name, age=age)
    done = watch(monkeypatch, Pauses(), stale=True)
    head, _, *lines = done.out.split("\n\n")[0].splitlines()
    assert head.endswith(": Of 3 instances 2 have a stale copy.")
    assert [line.split()[0] for line in lines] == ["globex", "acme"]


def test_watch_json_is_one_object_a_line(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --format json each snapshot is one line, on a terminal too."""
    monkeypatch.setattr(f"{MODULE}.sleep", Pauses(lambda: store("acme")))
    out = Terminal()
    with pytest.raises(CommandError):
        call_command("inspect_instance_cache", "acme", watch=True, format="json", stdout=out)
    states = [json.loads(line)["instances"][0]["state"] for line in out.getvalue().splitlines()]
    assert states == ["absent", "fresh"]


def test_watch_terminal_is_drawn_over(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal each snapshot begins at the top, and clears what it does not cover."""
    monkeypatch.setattr(f"{MODULE}.sleep", Pauses(lambda: None))
    out = Terminal()
    with pytest.raises(CommandError):
        call_command("inspect_instance_cache", "acme", watch=True, stdout=out)
    screens = out.getvalue().split("\x1b[H")
    assert screens[0] == ""
    assert [screen.endswith("\x1b[J") for screen in screens[1:]] == [True, True]
    assert "acme" in screens[2]


def test_watch_goes_on_while_everything_is_down(
    settings: Settings,
    service: ConfigService,
    own_redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage is what is watched: each snapshot says what is down, on the same stream."""
    with use_cache("redis", redis_url=own_redis_server.url()) as name:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": name}
        store("acme", age=400)
        done = watch(
            monkeypatch,
            Pauses(service.server.stop, own_redis_server.kill, lambda: None),
            stale=True,
        )
    assert done.code == 130
    before, service_down, both_down, *_ = done.out.split("\n\n")
    assert "acme" in before
    assert "acme" in service_down
    assert "(CONFIG_SERVICE_UNAVAILABLE, unreachable). What the cache" in service_down
    assert "CACHE_ERROR: The cache 'instances' failed to list" in both_down
    assert ": Of 0 instances none has a stale copy.\n" in both_down
    assert done.err == "Interrupted."


def test_watch_counts_what_could_not_be_read(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that cannot be read may be stale, so the head counts it."""
    with faulty_cache() as faults:
        faults.fail()
        done = watch(monkeypatch, Pauses(), "acme")
    head = done.out.splitlines()[0]
    assert head.endswith(": Of 1 instances none has a stale copy, 1 could not be read.")


def test_watch_without_a_list_says_so_in_each_snapshot(
    service: ConfigService,
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
    settings: Settings,
) -> None:
    """A service that has no list is no failure; the note stands below the table."""
    with use_cache("redis", redis_url=redis_server.url()) as name:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": name}
        service.scripts = {"/instances": Answer(404)}
        store("acme")
        done = watch(monkeypatch, Pauses())
    assert done.out.split("\n\n")[0].splitlines()[-1] == (
        "The Config Service has no list of instances (404). What the cache 'instances' holds is"
        " shown."
    )


def test_watch_shows_no_secret(service: ConfigService, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn again and again is masked each time."""
    get_resolver().refresh("acme")
    done = watch(monkeypatch, Pauses(), "acme", "no/id", show_config=True)
    assert "images.example/run" in done.out
    assert SECRET not in done.out + done.err
    assert TOKEN not in done.out + done.err


@pytest.mark.parametrize("interval", [0.0, -1.0, 0.05, 1e6, float("nan"), float("inf")])
def test_watch_impossible_interval_is_a_usage_error(
    service: ConfigService, interval: float
) -> None:
    """An interval that is no time to wait is refused, with the value."""
    done = run("inspect_instance_cache", watch=True, interval=interval)
    assert done.code == 1
    assert done.err == f"--interval must be from 0.1 to 86400 s, not {interval:g}."


def test_watch_interval_without_watch_is_a_usage_error(service: ConfigService) -> None:
    """An --interval that would have no effect is a mistake."""
    done = run("inspect_instance_cache", interval=5.0)
    assert (done.code, done.err) == (1, "--interval 5 is for --watch only.")


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (5, ["one", "two", "x" * 20]),
        (4, ["one", "two", "(1 more lines: there is no room for them)"]),
        (3, ["one", "(2 more lines: there is no room for them)"]),
        (2, ["(3 more lines: there is no room for them)"]),
        (1, ["(3 more lines: there is no room for them)"]),
    ],
)
def test_screen_leaves_out_what_would_make_it_scroll(rows: int, shown: list[str]) -> None:
    """A line that takes two rows counts as two; one row is for the cursor."""
    drawn = one_screen(["one", "two", "x" * 20], columns=10, rows=rows)
    assert drawn == "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J"


def configure(site: Site, service: ConfigService) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": str(site.directory / "cache")}}
    site.configure(CACHES=caches, INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": service.server.url})


def test_watch_process_ends_with_ctrl_c(site: Site, service: ConfigService) -> None:
    """On a real terminal Ctrl-C ends it with 130, and the last snapshot stays."""
    configure(site, service)
    master, slave = pty.openpty()
    command = ["inspect_instance_cache", "acme", "--watch", "--interval", "60"]
    with site.start(*command, stdout=slave) as process:
        os.close(slave)
        shown = b""
        while b"\x1b[J" not in shown:
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 130
    assert b"acme" in shown
    assert err.strip() == b"CommandError: Interrupted."


def test_watch_process_ends_with_its_reader(site: Site, service: ConfigService) -> None:
    """``| head -1`` has read enough: the command ends, without a complaint."""
    configure(site, service)
    command = ["inspect_instance_cache", "acme", "--watch", "--interval", "0.1"]
    with site.start(*command) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr
        assert process.stderr.read() == b""
