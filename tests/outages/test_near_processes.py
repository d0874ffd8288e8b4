"""Two processes, and what each hears of the other: within a second, after a fork as before."""

from __future__ import annotations

import gc
import threading
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup.cache.pubsub import _channels
from instance_lookup.cache.redis_client import client_of
from tests.support.forks import FORKS
from tests.support.near import (
    ALIAS,
    LONG,
    Peer,
    at_hand,
    channel,
    end,
    near_caches,
    near_config,
    near_resolver,
    obey,
    seen,
    settled,
    wait_for_delivery,
    watch,
)
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup import InstanceResolver
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

CHANGES = [
    ("invalidate", "acme"),
    ("expire", "acme"),
    ("block", "acme"),
    ("invalidate_all",),
    ("lose",),
]
ROUNDS = 21


@pytest.fixture
def config(redis_server: RedisServer) -> Iterator[dict[str, Any]]:
    config = near_config("django-redis", redis_server.url())
    with near_caches(instances=config):
        yield config


@pytest.fixture
def here(config: dict[str, Any]) -> InstanceResolver:
    return near_resolver(ALIAS)


@pytest.fixture
def peer(config: dict[str, Any]) -> Iterator[Peer]:
    with Peer(config) as peer:
        yield peer


@pytest.mark.parametrize("change", CHANGES)
def test_change_elsewhere(here: InstanceResolver, peer: Peer, change: tuple[str, ...]) -> None:
    """A change in another process reaches the near cache within a second."""
    before = settled(here)
    assert peer("settle") == before
    peer(*change)
    with within(1):
        watch(here)
    assert seen(here) != before


@pytest.mark.parametrize("change", CHANGES)
def test_change_here(here: InstanceResolver, peer: Peer, change: tuple[str, ...]) -> None:
    """A change in this process reaches the near cache of another within a second."""
    before = settled(here)
    assert peer("settle") == before
    peer.tell("watch")
    obey(here, *change)
    with within(1):
        peer.answer()
    assert peer("see", "acme") != before


def test_propagation(
    here: InstanceResolver, peer: Peer, record_property: Callable[[str, float], None]
) -> None:
    """An invalidation mostly reaches other processes at once: it does not wait for a pulse."""
    took = []
    for _ in range(ROUNDS):
        settled(here)
        peer("settle")
        peer.tell("watch")
        began = monotonic()
        here.cache.invalidate("acme")
        took.append(peer.answer() - began)
    record_property("median_seconds", median(took))
    record_property("longest_seconds", max(took))
    assert median(took) < 0.1


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_fork(here: InstanceResolver, config: dict[str, Any], fork: str) -> None:
    """Parent and child hear each other's changes after a fork."""
    with Peer(config, forks=fork) as peer:
        for changer in (False, True):
            before = peer("settle", child=False)
            assert peer("settle", child=True) == before
            peer.tell("watch", child=not changer)
            peer("invalidate", "acme", child=changer)
            with within(1):
                peer.answer(child=not changer)
            assert peer("see", child=not changer) != before


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_fork_has_nothing_at_hand_for_long(
    here: InstanceResolver, config: dict[str, Any], fork: str
) -> None:
    """Entries that a child inherits are served for a second: it does not listen yet."""
    with Peer(config, forks=fork) as peer:
        peer("at_hand", child=True)  # by now it is born
        with within(1):
            peer("watch", child=True)


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_child_that_looks_up_nothing_is_no_hindrance(
    here: InstanceResolver, config: dict[str, Any], fork: str
) -> None:
    """The parent keeps its subscription, though a child has a copy of the connection."""
    with Peer(config, forks=fork) as peer:
        peer("settle")
        peer.dismiss_child()
        before = peer("settle")
        settled(here)
        here.cache.invalidate("acme")
        wait_for_delivery()
        assert at_hand(here) is None
        wait_until(lambda: peer("see") != before, 0.9)  # heard: it would serve for a second


def test_one_thread_for_many(here: InstanceResolver) -> None:
    """A process has one listener for an alias, however many resolvers and caches it has."""
    more = [near_resolver() for _ in range(5)]
    for resolver in (here, *more):
        settled(resolver)
    assert len(listeners()) == 1


def test_one_thread_when_many_begin(here: InstanceResolver) -> None:
    """A process has one listener, also when resolvers begin at the same moment."""
    together = threading.Barrier(8)

    def begin() -> None:
        resolvers.append(near_resolver())
        together.wait(LONG)
        seen(resolvers[-1])

    resolvers: list[InstanceResolver] = []
    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(listeners()) == 1
    assert len(_channels) == 1


def test_nothing_before_first_use(here: InstanceResolver) -> None:
    """A resolver opens a channel and a thread only at its first lookup."""
    assert not listeners()
    assert not _channels
    here.cache.invalidate("acme")  # tells others, and need not listen for that
    assert not listeners()
    seen(here)
    assert len(listeners()) == 1


def test_thread_ends_when_nobody_wants_to_know(here: InstanceResolver) -> None:
    """When no resolver is left the thread and its connection end."""
    settled(near_resolver())
    thread = listeners()[0]

    def is_over() -> bool:
        gc.collect()
        return not thread.is_alive()

    wait_until(is_over, LONG)
    assert settled(near_resolver())  # and another one begins
    assert len(listeners()) == 1


def test_connection_is_given_back(here: InstanceResolver) -> None:
    """A thread that ends gives its connection back to the pool."""
    settled(here)
    assert subscribers() == 1
    end(channel())
    wait_until(lambda: subscribers() == 0, LONG)


def listeners() -> list[threading.Thread]:
    name = f"instance-lookup-{ALIAS}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def subscribers() -> int:
    (told,) = client_of(caches[ALIAS]).pubsub_numsub(channel().name)
    return int(told[1])
