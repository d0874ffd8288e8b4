"""The app under each server of docs/how-to/server-models.md, by the page's own commands."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests

from instance_lookup import InstanceCache
from tests.integrations.server_site import PAGE, ServedSite, connections
from tests.outages.sites import Service
from tests.support.debian import MissingProgramError
from tests.support.documents import blocks, commands
from tests.support.mod_wsgi import install_mod_wsgi
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integrations.server_site import Served, Worker
    from tests.support.redis_server import RedisServer

WORKERS = 2
CHANNEL = ":instance_invalidations"
COMMANDS = [words for block in blocks(PAGE) for words, _ in commands(block)]
SERVERS = [words for words in COMMANDS if words[0] != "celery"]
ASGI = "mysite.asgi:application"
POOLS = [words for words in COMMANDS if words[0] == "celery"]
DROPS = ("daphne",)
"""Servers that end at once, whatever they are doing."""
MAY_DROP = ["hypercorn", "--workers", "2"]
"""Its master kills a worker that still answers once another one has ended: mostly that is so."""
STOPS = {"mod_wsgi-express": signal.SIGWINCH}
"""How to have a server answer first, and then end, where that is not SIGTERM."""
EXITS_WITHIN = 6.0
"""Seconds, after the last answer. Most servers look for the end once a second."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service
        service.released.set()


@pytest.fixture
def site(tmp_path: Path, service: Service, redis_server: RedisServer) -> ServedSite:
    return ServedSite(tmp_path, service, redis_server)


@pytest.fixture
def serve(site: ServedSite) -> Callable[[list[str]], Any]:
    """Serve the site by a command, with Apache where that is what the command starts."""

    def serve(words: list[str]) -> Any:
        if words[0] == "mod_wsgi-express":
            try:
                install_mod_wsgi()
            except MissingProgramError as exc:
                pytest.skip(str(exc))
        return site.served(words)

    return serve


@pytest.fixture
def cache(site: ServedSite, settings: Any) -> InstanceCache:
    """The cache of the site, for this process, which is another one than those that serve."""
    backend = "django_redis.cache.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": site.redis.url()}}
    return InstanceCache()


def all_listen(served: Served | Worker, redis_url: str, workers: int) -> bool:
    """Ask once more, and tell whether so many processes listen for invalidations.

    A worker that forked after a lookup serves its master's entry for a second: it listens then.
    """
    served.ask("acme", "acme")
    with redis.Redis.from_url(redis_url) as client:
        return int(client.pubsub_numsub(CHANNEL)[0][1]) >= workers


def all_know(served: Served | Worker, workers: int, **expected: str) -> set[int]:
    """Ask until so many processes answer as expected, and return their ids."""
    pids: set[int] = set()

    def know() -> bool:
        for told in served.ask("acme", "acme"):
            is_so = all(told[name] == value for name, value in expected.items())
            (pids.add if is_so else pids.discard)(told["pid"])
        return len(pids) == workers

    wait_until(know)
    return pids


def workers_of(words: list[str]) -> int:
    return 1 if words[0] == "daphne" or "1" in words else WORKERS


@pytest.mark.parametrize("words", SERVERS, ids=" ".join)
def test_change_and_outage_under_a_server(
    words: list[str],
    site: ServedSite,
    serve: Callable[[list[str]], Any],
    cache: InstanceCache,
) -> None:
    """Each process answers from its memory, hears of each change, and goes on without a service."""
    workers = workers_of(words)
    with serve(words) as served:
        all_know(served, workers, bucket="", source="cache")
        wait_until(lambda: all_listen(served, site.redis.url(), workers))
        check_memory(served)
        check_async_view(words, served, "of-async", bucket="", source="service")
        site.service.bucket = "second"
        cache.invalidate("acme")
        all_know(served, workers, bucket="second")
        check_async_view(words, served, "acme", bucket="second", source="cache")
        site.service.stop()
        cache.expire("acme")
        all_know(served, workers, bucket="second", source="stale_cache")
        check_async_view(words, served, "acme", bucket="second", source="stale_cache")


def check_memory(served: Served | Worker) -> None:
    """Wait until a process answers from its memory, which it does while it hears, and only then."""
    hits: dict[int, int] = {}

    def grew() -> bool:
        told = served.ask("acme")[0]
        before, hits[told["pid"]] = hits.get(told["pid"]), told["near_hits"]
        return before is not None and told["near_hits"] > before

    wait_until(grew)


def check_async_view(words: list[str], served: Served, instance_id: str, **expected: str) -> None:
    """See that under ASGI an async view is told the same as a sync one."""
    if ASGI in words:
        [told] = served.ask(instance_id, path="awhere")
        assert {name: told[name] for name in expected} == expected


@pytest.mark.parametrize("words", SERVERS, ids=" ".join)
def test_exit_of_a_server(
    words: list[str], site: ServedSite, serve: Callable[[list[str]], Any]
) -> None:
    """No connection is left behind by request after request, and what is under way is answered."""
    service = site.service
    with serve(words) as served, ThreadPoolExecutor(1) as pool:
        pids = all_know(served, workers_of(words), source="cache")
        for number in range(5):
            served.ask(*(f"of-{number}-{each}" for each in range(4)))
        assert all(connections(pid, service.port) <= 4 for pid in pids)
        assert all(connections(pid, site.redis.port) <= 1 + 2 * 4 for pid in pids)
        under_way = pool.submit(served.get, "slow")
        wait_until(lambda: service.asked("slow"))
        served.process.send_signal(STOPS.get(words[0], signal.SIGTERM))
        if words[0] in DROPS:
            with pytest.raises(requests.ConnectionError):
                under_way.result()
            service.released.set()
        elif words[: len(MAY_DROP)] == MAY_DROP:
            with suppress(requests.ConnectionError):
                under_way.result()
            service.released.set()
        else:
            Timer(1.0, service.released.set).start()
            assert under_way.result().json()["instance"] == "slow"
        with within(EXITS_WITHIN):
            assert served.process.wait(30) == 0


@pytest.mark.parametrize("words", [each for each in SERVERS if "--preload" in each], ids=" ".join)
def test_lookup_before_the_fork(
    words: list[str],
    site: ServedSite,
    serve: Callable[[list[str]], Any],
    cache: InstanceCache,
) -> None:
    """A master that looks up, and listens, as it loads the site leaves its workers sound."""
    with serve([word.replace("mysite.wsgi", "mysite.early") for word in words]) as served:
        all_know(served, WORKERS, source="cache")
        # The master listens as well, but not as a master of greenlets.
        wait_until(lambda: all_listen(served, site.redis.url(), WORKERS + ("gevent" not in words)))
        check_memory(served)
        site.service.bucket = "second"
        cache.invalidate("acme")
        all_know(served, WORKERS, bucket="second")


@pytest.mark.parametrize("words", POOLS, ids=" ".join)
def test_celery_pool(words: list[str], site: ServedSite, cache: InstanceCache) -> None:
    """What holds for requests under a server holds for tasks in each pool."""
    service, workers = site.service, WORKERS if "prefork" in words else 1
    with site.working(words) as worker:
        all_know(worker, workers, bucket="", source="cache")
        wait_until(lambda: all_listen(worker, site.redis.url(), workers))
        check_memory(worker)
        service.bucket = "second"
        cache.invalidate("acme")
        all_know(worker, workers, bucket="second")
        under_way = worker.send("slow")
        wait_until(lambda: service.asked("slow"))
        worker.process.send_signal(signal.SIGTERM)
        Timer(1.0, service.released.set).start()
        assert under_way.get(timeout=60, interval=0.01)["instance"] == "slow"
        with within(EXITS_WITHIN):
            assert worker.process.wait(30) == 0
    service.stop()
    cache.expire("acme")
    with site.working(words) as worker:
        all_know(worker, workers, bucket="second", source="stale_cache")
