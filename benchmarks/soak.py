"""Hours of trouble in minutes: ``python -m benchmarks.soak --minutes 2 [--seed 1]``.

A site of four processes on a real Redis and a Config Service in a process of its own is asked by
many clients, while tenants change and are invalidated. For one tenant the service fails always, and
one user makes up ids as fast as they are answered. Rough and calm times take turns: in rough ones
service and Redis are stopped, hung and started again at random; in all of them balancers in front
of both forget connections that are idle.

It exits with 1 if a client got a wrong answer (another tenant's configuration, one invalidated
before the request, one past the age limit, a refusal of the owner), if in a calm time a tenant was
refused for longer than one call may take, or if not every tenant was well again in the end.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from benchmarks.soak_ledger import RECOVERY, Ledger, report
from benchmarks.soak_processes import Balancer, Service, site
from benchmarks.soak_service import POISONED
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TENANTS = [f"tenant-{number}" for number in range(20)]
ROUGH, CALM = 30.0, 30.0
"""Seconds of each, in turn."""


class Soak:
    """Clients, an operator and two saboteurs, each with seeded dice of its own, until ``over``."""

    def __init__(self, port: int, directory: Path, seed: int) -> None:
        self.ledger = Ledger()
        self.over = Event()
        self._port = port
        self._directory = directory
        self._seed = seed
        self._versions = dict.fromkeys(TENANTS, 0)
        self._change(TENANTS)

    def client(self, number: int) -> None:
        """Ask for instances, nearly always as their owner."""
        dice, connection = self._dice(f"client {number}"), self._connection()
        while not self.over.wait(dice.uniform(0.002, 0.02)):
            tenant, chance = dice.choice(TENANTS), dice.random()
            if chance < 0.02:
                self._ask(connection, "ghost", "guest", expected=404)
            elif chance < 0.12:
                self._ask(connection, tenant, "owner-of-another", expected=403)
            else:
                self._ask(connection, tenant, f"owner-of-{tenant}", expected=200)
        connection.close()

    def unlucky(self) -> None:
        """Ask for the one instance for which the service always fails."""
        dice, connection = self._dice("unlucky"), self._connection()
        while not self.over.wait(dice.uniform(0.01, 0.05)):
            self._ask(connection, POISONED, f"owner-of-{POISONED}", expected=503)
        connection.close()

    def greedy(self) -> None:
        """Ask for ids that do not exist, one after the other; most are refused unasked."""
        dice, connection = self._dice("greedy"), self._connection()
        while not self.over.wait(0.002):
            made_up = f"made-up-{dice.randrange(10**9)}"
            self._ask(connection, made_up, "greedy", expected=404, unasked=429)
        connection.close()

    def operator(self) -> None:
        """Change tenants, and invalidate most of those that changed."""
        dice, connection = self._dice("operator"), self._connection()
        while not self.over.wait(dice.uniform(0.05, 0.4)):
            everything = dice.random() < 0.04
            tenants = TENANTS if everything else [dice.choice(TENANTS)]
            self._change(tenants)
            if dice.random() < 0.6:
                path = "/invalidate" if everything else f"/invalidate?id={tenants[0]}"
                status, _ = _get(connection, path, {})
                versions = {tenant: self._versions[tenant] for tenant in tenants}
                self.ledger.invalidated(versions, status)
        connection.close()

    def saboteur(self, service: Service, redis: RedisServer) -> None:
        """In rough times stop, hang and restart the service and Redis, one at a time or both."""
        dice, began = self._dice("saboteur"), monotonic()
        while not self.over.wait(dice.uniform(0.3, 3.0)):
            if (monotonic() - began) % (ROUGH + CALM) > ROUGH:  # a calm time
                continue
            chosen = dice.choice(["service", "redis", "service and redis"])
            how, seconds = dice.choice(["stopped", "hung"]), dice.uniform(0.5, 4.0)
            victims: list[Service | RedisServer] = []
            victims += [service] if "service" in chosen else []
            victims += [redis] if "redis" in chosen else []
            with self.ledger.disturbed(f"{chosen} {how}", redis=redis in victims):
                for victim in victims:
                    victim.pause() if how == "hung" else victim.stop()
                self.over.wait(seconds)
                for victim in victims:
                    victim.resume() if how == "hung" else victim.start()

    def forgetter(self, service: Balancer, redis: Balancer) -> None:
        """Have the balancers forget idle connections."""
        dice = self._dice("forgetter")
        while not self.over.wait(dice.uniform(0.5, 4.0)):
            side = dice.choice(["service", "redis"])
            with self.ledger.forgotten(f"{side} connections", redis=side == "redis"):
                (service if side == "service" else redis).forget()

    def recovery(self) -> float | None:
        """Return the seconds until every tenant is answered again, ``None`` if that takes long."""
        began = monotonic()
        with closing(self._connection()) as connection:
            while monotonic() < began + RECOVERY:
                if all(self._is_well(connection, tenant) for tenant in TENANTS):
                    return monotonic() - began
                sleep(0.1)
        return None

    def _is_well(self, connection: HTTPConnection, tenant: str) -> bool:
        headers = {"X-Instance-ID": tenant, "X-User": f"owner-of-{tenant}"}
        return _get(connection, "/config", headers)[0] == "200"

    def _dice(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    def _connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self._port, timeout=10)

    def _change(self, tenants: list[str]) -> None:
        for tenant in tenants:
            self._versions[tenant] += 1
            path = self._directory / f"{tenant}.version"
            path.with_suffix(".new").write_text(str(self._versions[tenant]))
            path.with_suffix(".new").rename(path)
            self.ledger.replaced(tenant, self._versions[tenant])

    def _ask(
        self,
        connection: HTTPConnection,
        tenant: str,
        user: str,
        *,
        expected: int,
        unasked: int | None = None,
    ) -> None:
        began = monotonic()
        headers = {"X-Instance-ID": tenant, "X-User": user}
        status, body = _get(connection, "/config", headers)
        self.ledger.answered(status, began, failed=status not in {str(expected), str(unasked)})
        if expected == 200:
            self.ledger.owner_answered(tenant, began, refused=status != "200")
        if status == str(expected) == "200":
            answer = json.loads(body)
            if answer["instance_id"] == tenant:
                self.ledger.check(tenant, int(answer["version"]), began)
            else:
                self.ledger.is_wrong(f"{tenant} was answered with {answer['instance_id']}")
        elif status != str(expected) and status in {"200", "403", "404"}:
            self.ledger.is_wrong(f"{user} got {status} for {tenant}, not {expected}")


def _get(connection: HTTPConnection, path: str, headers: dict[str, str]) -> tuple[str, bytes]:
    """Return status and body, or the name of what went wrong."""
    try:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            return str(response.status), response.read()
    except (HTTPException, OSError) as error:
        connection.close()
        return type(error).__name__, b""


@contextmanager
def ended(threads: list[Thread], over: Event) -> Iterator[None]:
    """Run the threads, and wait for their end however the block ends: the saboteur's mends."""
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def soak(seconds: float, *, seed: int, clients: int = 8) -> tuple[Ledger, str, bool]:
    """Run it, and return the ledger, the report, and whether all was well."""
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="instance-lookup-soak-"))
        directory = Path(temporary)
        redis = stack.enter_context(RedisServer())
        service = stack.enter_context(Service(directory))
        to_service = stack.enter_context(Balancer(service.port))
        to_redis = stack.enter_context(Balancer(redis.port))
        url = f"http://127.0.0.1:{to_service.port}"
        redis_url = f"redis://127.0.0.1:{to_redis.port}/0"
        port = stack.enter_context(site(redis_url, url, directory))
        work = Soak(port, directory, seed)
        if work.recovery() is None:
            raise RuntimeError(f"the site does not start:\n{(directory / 'log').read_text()}")
        jobs: list[Callable[[], None]] = [work.operator, partial(work.saboteur, service, redis)]
        jobs += [partial(work.forgetter, to_service, to_redis), work.unlucky, work.greedy]
        jobs += [partial(work.client, number) for number in range(clients)]
        threads = [Thread(target=job) for job in jobs]
        with ended(threads, work.over):
            work.over.wait(seconds)
        recovery = work.recovery()
        calls = (directory / "calls").stat().st_size
        text = report(work.ledger, seconds=seconds, calls=calls, recovery=recovery)
        return work.ledger, text, work.ledger.is_well and recovery is not None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed:                 {seed}", flush=True)
    _, text, well = soak(60 * options.minutes, seed=seed, clients=options.clients)
    print(text)
    return 0 if well else 1


if __name__ == "__main__":
    # As Ctrl-C would: whatever was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
