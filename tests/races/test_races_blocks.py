"""A block, and what another process does with the same keys, step by step in many orders."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import InstanceNotFound, InstanceResolver
from instance_lookup.exceptions import InstanceBlocked
from tests.support.lookups import Service, acme, hooked_caches, hooks

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 30.0
STEPS = range(1, 8)
"""Neither a block nor an invalidation takes more."""


class Stepped:
    """A thread that stops before each step on the cache, until it is told to go on."""

    by_thread: ClassVar[dict[int, Stepped]] = {}

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.is_over = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self._wait()

    def _run(self) -> None:
        self.by_thread[threading.get_ident()] = self
        try:
            self._act()
        finally:
            del self.by_thread[threading.get_ident()]
            self.is_over = True
            self._stopped.release()

    @classmethod
    def stop(cls, verb: str, key: str) -> None:
        """Wait for the next turn of this thread, if it is one of ours: a hook of the cache."""
        if (each := cls.by_thread.get(threading.get_ident())) is not None:
            each._stopped.release()
            assert each._go.acquire(timeout=LONG)

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=LONG)

    def advance(self, steps: int) -> None:
        """Have the thread take some steps, as many as there are."""
        for _ in range(steps):
            if self.is_over:
                return
            self._go.release()
            self._wait()

    def finish(self) -> None:
        """Have the thread take all steps that are left."""
        while not self.is_over:
            self.advance(1)
        self.thread.join(LONG)


def _not_found(resolver: InstanceResolver) -> None:
    with suppress(InstanceNotFound, InstanceBlocked):
        resolver.refresh("acme")


ACTS: dict[str, Callable[[InstanceResolver], object]] = {
    "invalidate": lambda resolver: resolver.invalidate_cache("acme"),
    "expire": lambda resolver: resolver.cache.expire("acme"),
    "not found": _not_found,
}


@pytest.mark.parametrize(
    "act", ["invalidate", "not found", pytest.param("expire", marks=pytest.mark.full)]
)
def test_block_beside(act: str) -> None:
    """Whatever the order of their steps, the instance is blocked when both are done."""
    service = Service()
    with override_settings(CACHES=hooked_caches()):
        for first, blocking, second in product(STEPS, STEPS, STEPS):
            if first + second > STEPS[-1]:
                continue
            caches["default"].clear()
            here, there = (InstanceResolver(config_service_backend=service) for _ in range(2))
            service.instances["acme"] = acme("")
            here.refresh("acme")
            if act == "not found":
                del service.instances["acme"]
            with hooks(Stepped.stop):
                other = Stepped(partial(ACTS[act], here))
                block = Stepped(partial(there.block_instance, "acme", 60))
                other.advance(first)
                block.advance(blocking)
                other.advance(second)
                block.finish()
                other.finish()
            found = here.cache.tiers.read_shared("acme")
            assert found.blocked_until, (first, blocking, second)
