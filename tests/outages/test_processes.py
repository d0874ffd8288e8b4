"""The processes that people run: preloaded and forked, spawned, and ended in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.outages.sites import Service, get_all
from tests.support.running import ROOT, running
from tests.support.servers import ScriptedServer, mute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service
        service.released.set()


@pytest.mark.extras
def test_gunicorn_preloaded(service: Service, redis_server: RedisServer, tmp_path: Path) -> None:
    """Four workers answer, though their master has looked up, and is looking up at the fork."""
    command = ["gunicorn", "tests.outages.live_fleet:wsgi", "--bind", "fd://{fd}", "--preload"]
    command += ["--workers", "4", "--no-control-socket", "--worker-tmp-dir", "{tmp}"]
    redis_server.command("FLUSHALL")
    environ = {"CONFIG_SERVICE_URL": service.url, "REDIS_URL": redis_server.url()}
    with running(command, tmp_path, LOOK_UP_FIRST="1", **environ) as site:
        each = get_all(site, [f"each-{number}" for number in range(4)])
        log = (tmp_path / "log").read_text()
        assert [answer.text for answer in each] == [f"each-{n}" for n in range(4)], log
        assert len({answer.headers["X-Pid"] for answer in each}) == 4
        assert {answer.text for answer in get_all(site, ["first", "one"] * 8)} == {"first", "one"}
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(get_all, site, ["slow"] * 4)
            service.released.set()
            assert {answer.text for answer in slow.result(30)} == {"slow"}
    assert [service.asked(name) for name in ("first", "one", "slow")] == [1, 1, 1]


@pytest.mark.extras
def test_uvicorn_workers(service: Service, redis_server: RedisServer, tmp_path: Path) -> None:
    """Forty requests to two workers share one call; for many ids there is one call each."""
    command = ["uvicorn", "tests.outages.live_fleet:asgi", "--fd", "{fd}", "--workers", "2"]
    redis_server.command("FLUSHALL")
    environ = {"CONFIG_SERVICE_URL": service.url, "REDIS_URL": redis_server.url()}
    with running(command, tmp_path, **environ) as site:
        answers = get_all(site, ["one"] * 40)
        log = (tmp_path / "log").read_text()
        assert {answer.text for answer in answers} == {"one"}, log
        names = [f"id-{number}" for number in range(20)]
        assert [answer.text for answer in get_all(site, names)] == names
    assert sorted(map(service.asked, ["one", *names])) == [1] * 21


@pytest.mark.full
@pytest.mark.extras
def test_celery_prefork(service: Service, redis_server: RedisServer, tmp_path: Path) -> None:
    """Celery tasks look up in forked children whose parent has looked up, or is doing so."""
    from tests.outages.live_celery import make_app

    command = ["celery", "--app", "tests.outages.live_celery", "worker", "--pool", "prefork"]
    command += ["--concurrency", "4", "--without-gossip", "--without-mingle"]
    redis_server.command("FLUSHALL")
    environ = {"CONFIG_SERVICE_URL": service.url, "REDIS_URL": redis_server.url()}
    environ |= {"CELERY_FOLDER": str(tmp_path), "LOOK_UP_FIRST": "1"}
    with running(command, tmp_path, **environ), make_app(tmp_path) as app:

        def told(*instance_ids: str) -> list[tuple[str, int]]:
            sent = [app.send_task("look_up", [instance_id]) for instance_id in instance_ids]
            return [task.get(timeout=30) for task in sent]

        each = told(*(f"each-{number}" for number in range(4)))
        assert {source for source, _ in each} == {"service"}, (tmp_path / "log").read_text()
        assert len({pid for _, pid in each}) == 4
        service.released.set()
        assert {source for source, _ in told("first", "slow")} == {"cache"}
    assert [service.asked(name) for name in ("first", "slow")] == [1, 1]


@pytest.mark.parametrize(
    ("method", "first"), [("fork", "cache"), ("spawn", "service"), ("forkserver", "service")]
)
def test_multiprocessing(service: Service, method: str, first: str) -> None:
    """A child gets what its parent had cached, what is not cached, and what its parent fetches."""
    done = run(
        [*WITHOUT_WARNINGS, "-m", "tests.outages.forking", method],
        CONFIG_SERVICE_URL=service.url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"first": first, "other": "service", "slow": "service"}
    assert service.asked("slow") == 2  # a cache in memory is no cache of both


# Python 3.12 and later warn of any fork with threads, which is what is tested here.
WITHOUT_WARNINGS = ["-W", "ignore"]


def run(arguments: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


LOADED = """
import importlib, pkgutil, threading
import django
django.setup()
import instance_lookup
from django.core.checks import run_checks
for module in pkgutil.walk_packages(instance_lookup.__path__, "instance_lookup."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as exc:  # an optional dependency that is not installed
        assert not exc.name.startswith("instance_lookup"), exc
run_checks()
instance_lookup.get_resolver()
print(threading.active_count())
"""


def test_nothing_is_started_by_loading() -> None:
    """Imports, `ready`, checks and new resolvers start no thread."""
    done = run(["-c", LOADED])
    assert (done.stdout, done.stderr) == ("1\n", "")


SETUP = """
import asyncio, os, time
import django
django.setup()
from instance_lookup import InstanceResolver, LookupContext, LookupUser
context = LookupContext(LookupUser.service(), instance_id="acme")
resolver = InstanceResolver(
    config_service_url=os.environ["CONFIG_SERVICE_URL"], config_service_timeout=60
)
"""
ENDINGS = {
    "thread": (
        "from threading import Thread\n"
        "Thread(target=resolver.resolve, args=[context], daemon=True).start()\n"
        "{wait}"
    ),
    "coroutine": (
        "async def main():\n"
        "    try:\n"
        "        await asyncio.wait_for(resolver.aresolve(context), 1)\n"
        "    except TimeoutError:\n"
        "        pass\n"
        "asyncio.run(main())\n"
    ),
    "behind a stale copy": (
        "from instance_lookup import InstanceConfig\n"
        "resolver.cache.set('acme', InstanceConfig(instance_id='acme'), ttl=0.001)\n"
        "time.sleep(0.01)\n"
        "assert resolver.resolve(context).source == 'stale_cache'\n"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_exit_is_not_delayed_by_a_hanging_fetch(ending: str) -> None:
    """A process exits at once though a fetch hangs."""
    wait = (
        "import threading\n"
        "from tests.support.waiting import wait_until\n"
        # The last thread that a fetch needs: Python starts none any more once it is ending.
        "names = lambda: [thread.name for thread in threading.enumerate()]\n"
        "wait_until(lambda: 'instance-lookup-dns' in names())\n"
    )
    with ScriptedServer(mute()) as server:
        began = monotonic()
        script = SETUP + ENDINGS[ending].format(wait=wait)
        done = run(["-c", script], CONFIG_SERVICE_URL=server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert monotonic() - began < 30  # of 60
