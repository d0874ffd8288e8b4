"""A process of the real fleet: ``python -m benchmarks.capacity.worker REDIS SERVICE PLAN``.

Each line that it is sent is an order, and is answered by a line. ``run SEED`` makes requests for
the window of the plan, and tells what answered them. ``warm`` fetches all instances beside the
requests of the next ``run``. ``invalidate`` lets nothing count that is cached.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from math import log
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import django
import msgspec

from benchmarks.capacity.plan import Plan

if TYPE_CHECKING:
    from instance_lookup import InstanceResolver

THREADS = 16


class Answered(msgspec.Struct):
    """What one process saw in one run."""

    requests: int
    near: int
    shared: int
    waited: int
    stale: int
    failed: dict[str, int]
    """How many requests ended with which error, other than "does not exist"."""
    late: float
    """By how many seconds requests were late, on average."""
    calls: int
    service_seconds: float
    """How long all calls of the Config Service took together, as this process saw it."""


class Process:
    """The resolver of one process, and its share of the requests."""

    def __init__(self, resolver: InstanceResolver, plan: Plan, backend: Any) -> None:
        self._resolver, self._plan, self._backend = resolver, plan, backend
        self._thresholds, self._count = plan.thresholds, len(plan.rates)
        self._lock = threading.Lock()
        """Protects the two sums below, which all threads add to."""
        self._failed: Counter[str] = Counter()
        self._late = 0.0

    def begin(self) -> None:
        """Look up what is not there, so that threads, connections and modules are."""
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(THREADS):
                pool.submit(self._ask, len(self._thresholds), monotonic())

    def run(self, seed: int) -> Answered:
        """Make requests at random moments for the plan's window."""
        dice, rate = random.Random(seed), self._plan.rps / self._plan.processes
        before = self._resolver.get_cache_stats()
        calls, seconds = self._backend.calls, self._backend.seconds
        self._failed, self._late = Counter(), 0.0
        moment, requests = monotonic(), 0
        end = moment + self._plan.window
        with ThreadPoolExecutor(THREADS) as pool:
            while (moment := moment - log(1 - dice.random()) / rate) < end:
                asked = dice.choices(range(self._count), cum_weights=self._thresholds)[0]
                sleep(max(0.0, moment - monotonic()))
                pool.submit(self._ask, asked, moment)
                requests += 1
            sleep(max(0.0, end - monotonic()))
        after = self._resolver.get_cache_stats()
        near = after.near_hits - before.near_hits
        hits = after.hits - before.hits + after.negative_hits - before.negative_hits
        stale = after.stale_hits - before.stale_hits
        return Answered(
            requests=requests,
            near=near,
            shared=hits - near,
            waited=after.misses - before.misses - stale,
            stale=stale,
            failed=dict(self._failed),
            late=self._late / max(1, requests),
            calls=self._backend.calls - calls,
            service_seconds=self._backend.seconds - seconds,
        )

    def _ask(self, asked: int, moment: float) -> None:
        from benchmarks import work  # noqa: PLC0415  # after Django is set up
        from instance_lookup import InstanceNotFound  # noqa: PLC0415

        late = monotonic() - moment
        with self._lock:
            self._late += late
        try:
            self._resolver.resolve(work.context(f"i-{asked}"))
        except InstanceNotFound:
            pass
        except Exception as exc:  # noqa: BLE001  # of any kind: the check says how many
            with self._lock:
                self._failed[repr(exc)] += 1

    def warm(self) -> None:
        """Fetch all instances in a thread of its own."""
        from instance_lookup.warming import warm  # noqa: PLC0415  # after Django is set up

        ids = [f"i-{number}" for number in range(self._plan.instances)]
        random.Random(self._plan.seed).shuffle(ids)

        def fetch() -> None:
            for _ in warm(self._resolver, ids, rate=self._plan.warm_rate):
                pass

        threading.Thread(target=fetch, daemon=True).start()


def main(redis_url: str, service_url: str, given: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()

    from benchmarks import work  # noqa: PLC0415  # after Django is set up
    from instance_lookup.backends.http import HttpConfigService  # noqa: PLC0415
    from instance_lookup.conf import build_settings  # noqa: PLC0415

    class Timed(HttpConfigService):
        """Notes how long calls take."""

        calls, seconds, lock = 0, 0.0, threading.Lock()

        def get_instance(self, instance_id: str, query: Any) -> Any:
            begun = monotonic()
            try:
                return super().get_instance(instance_id, query)
            finally:
                with self.lock:
                    self.calls += 1
                    self.seconds += monotonic() - begun

    plan = msgspec.json.decode(given, type=Plan)
    backend = Timed.from_settings(build_settings({"config_service_url": service_url}))
    with work.caches_on(redis_url):
        resolver = work.resolver(
            config_service_backend=backend,
            config_service_timeout=plan.timeout,
            cache_ttl=plan.ttl,
            stale_max_age=plan.stale_max_age,
            refresh_ahead=plan.refresh_ahead,
            negative_ttl=plan.negative_ttl,
            near_cache_ttl=plan.near_ttl,
            near_cache_size=plan.near_size,
            soft_timeout=plan.soft_timeout,
            miss_budget=None,  # the simulator has no users
        )
        process = Process(resolver, plan, backend)
        process.begin()
        print("ready", flush=True)
        for line in sys.stdin:
            match line.split():
                case ["run", seed]:
                    print(msgspec.json.encode(process.run(int(seed))).decode(), flush=True)
                case ["warm"]:
                    process.warm()
                    print("warming", flush=True)
                case ["invalidate"]:
                    resolver.invalidate_all_caches()
                    print("invalidated", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # without waiting for the thread that listens
