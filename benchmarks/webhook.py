"""How long a delivery to the webhook takes: ``python -m benchmarks.webhook [--quick]``.

One sender posts signed updates of an instance that is in use, one after another on one connection,
to a real server: gunicorn with two threads, then uvicorn. The site's cache is in local memory, then
in Redis. The Config Service takes 50 ms to answer, so a refresh that the answer waited for would
show. In turn it asks for the head of the health page, which does next to nothing: what that takes
is the server's, and the machine's. Milliseconds from the first byte sent to the last one received,
by the sender's clock.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import requests

from tests.behaviour.django.test_live_servers import SERVERS, config, serving
from tests.support.redis_server import RedisServer
from tests.support.servers import ScriptedServer
from tests.support.webhook import SECRET, URL, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM_UP = 50
"""Requests before which threads and connections are not made yet."""


@contextmanager
def site(server: str, redis_url: str) -> Iterator[str]:
    """Run the site of the tests, on a cache in local memory where there is no ``redis_url``."""
    answer = config("acme", is_open=True)
    os.environ |= {"WEBHOOK_SECRETS": SECRET, "CACHE_URL": redis_url}
    with (
        ScriptedServer({"/instances/acme": replace(answer, delay=0.05)}) as service,
        tempfile.TemporaryDirectory() as directory,
        serving(server, service.url, Path(directory)) as address,
    ):
        yield address


def timed(call: Callable[[], requests.Response], expected: int) -> float:
    """Return the milliseconds that a request takes."""
    began = perf_counter()
    response = call()
    took = 1000 * (perf_counter() - began)
    assert response.status_code == expected, response.status_code
    return took


def durations(address: str, deliveries: int) -> dict[str, list[float]]:
    """Return the milliseconds of each delivery, and of each look at the head of the health page."""
    found: dict[str, list[float]] = {"delivery": [], "health page": []}
    with requests.Session() as session:
        session.trust_env = False
        get = partial(session.get, timeout=30)
        look_up = partial(get, f"{address}/plain", headers={"X-Instance-ID": "acme"})
        for _ in range(deliveries + WARM_UP):
            timed(look_up, 200)
            sent = event()
            post = partial(session.post, address + URL, sent.body, headers=sent.headers, timeout=30)
            found["delivery"].append(timed(post, 204))
            # Its head: servers send a body apart, which the sender's TCP may hold up for 40 ms.
            head = partial(session.head, f"{address}/ops/health/", timeout=30)
            found["health page"].append(timed(head, 200))
    return {what: took[WARM_UP:] for what, took in found.items()}


def main() -> None:
    deliveries = 50 if "--quick" in sys.argv else 500
    print(f"| server | cache | of {deliveries} | median | p99 |\n|---|---|---|---:|---:|")
    with RedisServer() as redis:
        for server in SERVERS:
            for cache, url in (("local memory", ""), ("Redis", redis.url())):
                with site(server, url) as address:
                    measured = durations(address, deliveries)
                for what, took in measured.items():
                    middle, p99 = statistics.median(took), sorted(took)[int(0.99 * len(took))]
                    print(f"| {server} | {cache} | {what} | {middle:.1f} ms | {p99:.1f} ms |")


if __name__ == "__main__":
    main()
