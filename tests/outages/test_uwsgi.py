"""uWSGI, which loads the site and then forks below Python, or loads it in each worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.outages.sites import Service, get_all
from tests.support.running import running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

WORKERS = 4
FORKS = "loaded in the master"
LOADED = {
    # Python itself hangs in the worker if a thread of the master runs at the fork: so none does.
    FORKS: [],
    "loaded in each worker": ["--lazy-apps"],
    "Python's hooks are called": ["--py-call-uwsgi-fork-hooks"],
}
THREADS = {
    "enable-threads": ["--enable-threads"],
    "threads": ["--threads", "4"],
    "without threads": [],
}
MODES = [
    pytest.param(
        [*LOADED[loaded], *THREADS[threads]],
        id=f"{loaded}, {threads}",
        marks=[] if loaded == FORKS and threads != "threads" else [pytest.mark.full],
    )
    for loaded in LOADED
    for threads in THREADS
]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service
        service.released.set()


def subscribers(redis_server: RedisServer) -> int:
    """Return how many processes listen for invalidations."""
    import redis

    with redis.Redis.from_url(redis_server.url()) as client:
        return int(client.pubsub_numsub("live-fleet:instance_invalidations")[0][1])


@pytest.mark.parametrize("options", MODES)
def test_uwsgi(
    service: Service, redis_server: RedisServer, tmp_path: Path, options: list[str]
) -> None:
    """Each uWSGI worker answers, though a lookup was made or is under way when the site loads."""
    command = ["--http-socket", "fd://{fd}", "--module", "tests.outages.live_fleet:wsgi"]
    command += ["--master", "--need-app", "--die-on-term", "--processes", str(WORKERS), *options]
    redis_server.command("FLUSHALL")
    environ = {"CONFIG_SERVICE_URL": service.url, "REDIS_URL": redis_server.url()}
    is_quiet = not {"--lazy-apps", "--py-call-uwsgi-fork-hooks"} & {*options}
    environ |= {"QUIET": "1"} if is_quiet else {}
    program = [str(Path(sys.executable).with_name("pyuwsgi"))]
    with running(command, tmp_path, program=program, LOOK_UP_FIRST="1", **environ) as site:
        names = [f"each-{number}" for number in range(WORKERS)]
        each = get_all(site, names)
        log = (tmp_path / "log").read_text()
        assert [answer.text for answer in each] == names, log
        assert {answer.text for answer in get_all(site, ["first", "one"] * 8)} == {"first", "one"}
        pids = {answer.headers["X-Pid"] for answer in each}
        assert len(pids) == WORKERS or "--threads" in options
        is_loaded_once = "--lazy-apps" not in options
        listeners = len(pids) + is_loaded_once

        def all_listen() -> bool:
            # A worker that forked listens from when it reads an entry that it may keep. Those whose
            # lookups were all fetches of their own have read none: ask until each has.
            get_all(site, ["first", "one"] * 8)
            return subscribers(redis_server) >= listeners

        wait_until(lambda: is_quiet or all_listen())
        service.released.set()
        assert {answer.text for answer in get_all(site, ["slow"] * WORKERS)} == {"slow"}
    assert [service.asked(name) for name in names] == [1] * WORKERS
