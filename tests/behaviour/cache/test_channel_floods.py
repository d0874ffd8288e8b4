"""Messages that anyone who may publish can send: by the thousand, or of no known form."""

from __future__ import annotations

from threading import Event, Thread
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches

from instance_lookup.cache.pubsub import LULL
from instance_lookup.cache.redis_client import client_of
from tests.support.near import (
    ALIAS,
    LONG,
    Hearer,
    at_hand,
    channel,
    is_sure,
    near_caches,
    near_config,
    near_resolver,
    seen,
    settled,
    wait_for_delivery,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

MEAN_ALL = [b"*", b"", b"nonsense", b"\xff\xfe", b"pod:acme", b"instance:", b"instance:no id!"]
ALL = (None, None)


class Noting(Hearer):
    """A hearer that also notes the time of each message."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def hear(self, kind: str | None, asked: str | None) -> None:
        self.moments.append(monotonic())
        super().hear(kind, asked)


@pytest.fixture
def alias(own_redis_server: RedisServer) -> Iterator[str]:
    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        yield ALIAS


def send(message: bytes, times: int = 1) -> None:
    """Publish a message so many times in one go, as any client may."""
    pipeline = client_of(caches[ALIAS]).pipeline(transaction=False)
    for _ in range(times):
        pipeline.publish(channel().name, message)
    pipeline.execute()


def subscriber(server: RedisServer) -> bytes:
    """Return the id of the one connection that is subscribed."""
    import redis

    with redis.Redis(port=server.port) as client:
        (found,) = client.client_list("pubsub")
    return bytes(found["id"], "ascii")


@pytest.mark.parametrize("message", MEAN_ALL)
def test_message_that_names_no_id_means_all(
    message: bytes, alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreadable message drops the whole near cache, and nothing is logged."""
    here = near_resolver()
    settled(here)
    send(message)
    wait_until(lambda: at_hand(here) is None, LONG)
    assert settled(here)
    wait_for_delivery()
    assert not caplog.records


def test_client_that_decodes_by_itself(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A decoding client cannot read bytes that are no text, and goes on with later messages."""
    config = near_config("redis", own_redis_server.url())
    config["OPTIONS"] |= {"decode_responses": True, "protocol": 2}
    with near_caches(instances=config):
        hearer = Hearer()
        channel().listen(hearer)
        wait_until(is_sure, LONG)
        send(b"\xff\xfe", times=3)
        wait_until(lambda: ALL in hearer.told, LONG)
        wait_for_delivery()
        assert not caplog.records


@pytest.mark.parametrize("message", [b"*", b"\xff\xfe", b"instance:no id!"])
def test_flood_is_coalesced(
    message: bytes,
    alias: str,
    own_redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten thousand messages at once empty the near cache a few times, without a log line."""
    here, hearer = near_resolver(), Noting()
    hearer.ids = here.cache.tiers.ids
    settled(here)
    channel().listen(hearer)
    connection = subscriber(own_redis_server)
    send(message, times=10_000)
    wait_for_delivery_to(hearer)
    told = [moment for what, moment in zip(hearer.told, hearer.moments, strict=True) if what == ALL]
    # Between two that were told lies a LULL, but for what a moment is noted late.
    assert 1 <= len(told) <= 2 + (told[-1] - told[0]) / LULL
    assert subscriber(own_redis_server) == connection
    assert not caplog.records
    assert settled(here)


def wait_for_delivery_to(hearer: Hearer) -> None:
    """Wait until ``hearer`` was told of a change that is published now."""
    mark = f"mark-{monotonic_ns()}"
    channel().publish("instance", mark)
    wait_until(lambda: ("instance", mark) in hearer.told, LONG)


def test_slow_flood_is_coalesced(alias: str) -> None:
    """Messages that come one by one for a while are coalesced like a flood at once."""
    hearer, enough = Noting(), Event()
    channel().listen(hearer)
    wait_until(is_sure, LONG)

    def flood() -> None:
        while not enough.is_set():
            send(b"*")

    thread = Thread(target=flood)
    thread.start()
    wait_until(lambda: len(hearer.moments) >= 6, LONG)
    enough.set()
    thread.join(LONG)
    first, *_, last = hearer.moments
    assert len(hearer.moments) <= 2 + (last - first) / LULL


def test_last_of_a_flood_is_told(alias: str) -> None:
    """A message published just after all was forgotten makes the process forget once more."""
    hearer = Noting()
    channel().listen(hearer)
    wait_until(is_sure, LONG)
    send(b"*")
    wait_until(lambda: hearer.told == [ALL], LONG)
    send(b"*", times=3)
    wait_until(lambda: hearer.told == [ALL, ALL], LONG)
    wait_for_delivery_to(hearer)
    assert hearer.told.count(ALL) == 2


def test_nothing_is_kept_between_two_of_a_flood(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry read between two messages of a flood is not kept: the second would be ignored."""
    here = near_resolver()
    settled(here)
    now = monotonic()
    for module in ("near", "tiers"):
        monkeypatch.setattr(f"instance_lookup.cache.{module}.monotonic", lambda: now)
    here.cache.tiers.hear(*ALL)
    seen(here)
    assert at_hand(here) is None
    now += LULL
    seen(here)
    assert at_hand(here) is None
    now += 0.001
    seen(here)
    assert at_hand(here) is not None


def test_id_in_a_flood_is_told_at_once(alias: str) -> None:
    """In a flood a message for one id is passed on at once, and each time."""
    hearer = Noting()
    hearer.ids = near_resolver().cache.tiers.ids
    channel().listen(hearer)
    wait_until(is_sure, LONG)
    for _ in range(5):
        send(b"*")
        wait_for_delivery_to(hearer)
    assert len(hearer.told) >= 6


def test_lookups_go_on_in_a_flood(alias: str) -> None:
    """In a flood lookups are answered from the shared cache, and after it from the near cache."""
    here, enough = near_resolver(), Event()
    before = settled(here)

    def flood() -> None:
        while not enough.is_set():
            send(b"*", times=1000)

    thread = Thread(target=flood)
    thread.start()
    slowest = 0.0
    for _ in range(200):
        began = monotonic()
        assert seen(here) == before
        slowest = max(slowest, monotonic() - began)
    enough.set()
    thread.join(LONG)
    assert slowest < 5  # a starved lookup would wait until the flood ends
    assert settled(here) == before


def test_messages_that_come_faster_than_they_are_told(
    alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages faster than they can be handled delay the PING's answer, and that is no outage."""

    class Slow(Hearer):
        def hear(self, kind: str | None, asked: str | None) -> None:
            Event().wait(0.3)
            super().hear(kind, asked)

    hearer = Slow()
    channel().listen(hearer)
    wait_until(is_sure, LONG)
    for number in range(6):
        channel().publish("instance", f"id-{number}")
    wait_until(lambda: len(hearer.told) == 6, LONG)
    assert [asked for _, asked in hearer.told] == [f"id-{number}" for number in range(6)]
    wait_until(is_sure, LONG)
    assert not caplog.records
