"""Several processes call at the same moment: together they are let through as often as allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.caches import cache_config
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from tests.support.memcached_server import MemcachedServer
    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.full, pytest.mark.extras]

BURST, DAILY = 300, 333
CALLS = 50
"""Of each of five threads, of each of four processes: one alone does not reach the limit."""
# Forked, as the workers of a server are, when the parent has counted already.
SITE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import django
from django.conf import settings

CONFIG, BURST, DAILY, CALLS = json.loads(sys.argv[1])
settings.configure(CACHES={"default": CONFIG})
django.setup()
from instance_lookup import RateLimit
from instance_lookup.throttling.counter import get_counter

BUSY = {
    "burst": RateLimit(rpm=1, rpm_burst=BURST),
    "daily": RateLimit(rpm=60_000, daily=DAILY),
}
context = get_context("fork")
barrier = context.Barrier(4)

def call(instance_id):
    standing = get_counter("default").count("r", instance_id, BUSY[instance_id], fail_open=False)
    return not standing.wait

def work(instance_id):
    barrier.wait(30)
    with ThreadPoolExecutor(5) as pool:
        return sum(pool.map(call, [instance_id] * 5 * CALLS))

assert not get_counter("default").count("r", "x", BUSY["burst"], fail_open=False).wait
with context.Pool(4) as pool:
    print(json.dumps([pool.map(work, [name] * 4, chunksize=1) for name in BUSY]))
"""


def raced(config: dict[str, Any]) -> Any:
    """Make a thousand calls for each limit, and return how many of each process pass."""
    words = [sys.executable, "-c", SITE, json.dumps([config, BURST, DAILY, CALLS])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_thousand_calls_of_four_processes(redis_server: RedisServer) -> None:
    config = cache_config("django-redis", redis_url=redis_server.url())
    config["OPTIONS"].pop("CONNECTION_POOL_KWARGS")  # it holds an object
    burst, daily = raced(config)
    assert (sum(burst), sum(daily)) == (BURST, DAILY)


def test_thousand_calls_of_four_processes_on_memcached(memcached_server: MemcachedServer) -> None:
    config = cache_config("pymemcache", memcached=memcached_server.location)
    config["OPTIONS"].pop("socket_module")
    burst, daily = raced(config)
    assert (sum(burst), sum(daily)) == (BURST, DAILY)
