"""Invalidations: which processes hear them, from when on, and what the near cache drops."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkey
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceCache,
    InstanceNotFound,
    InstanceResolver,
)
from instance_lookup.cache.pubsub import (
    Channel,
    _channels,
    _named,
    _server_of,
    channel_of,
)
from tests.outages.redis_outages import hung
from tests.support.lookups import OLGA, asks
from tests.support.near import (
    ALIAS,
    BACKENDS,
    LONG,
    Hearer,
    at_hand,
    channel,
    near_caches,
    near_config,
    near_resolver,
    seen,
    settled,
    wait_for_delivery,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras


def lose(resolver: InstanceResolver) -> None:
    """Delete "acme" at the service, and have the resolver notice it."""
    resolver.backend.instances.clear()
    with pytest.raises(InstanceNotFound):
        resolver.refresh("acme")


CHANGES = [
    pytest.param(lambda other: other.cache.invalidate("acme"), id="invalidate"),
    pytest.param(lambda other: other.cache.expire("acme"), id="expire"),
    pytest.param(lambda other: other.invalidate_all_caches(), id="invalidate_all"),
    pytest.param(lose, id="not_found"),
]


@pytest.fixture(params=BACKENDS)
def any_backend(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[str]:
    with near_caches(instances=near_config(request.param, redis_server.url())):
        yield ALIAS


@pytest.fixture
def alias(redis_server: RedisServer) -> Iterator[str]:
    with near_caches(instances=near_config("django-redis", redis_server.url())):
        yield ALIAS


@pytest.fixture
def here(alias: str) -> InstanceResolver:
    return near_resolver()


@pytest.fixture
def there(alias: str) -> InstanceResolver:
    """Another resolver on the same cache, connected to the first by the channel only."""
    return near_resolver()


@pytest.mark.parametrize("change", CHANGES)
def test_heard(any_backend: str, change: Callable[[InstanceResolver], object]) -> None:
    """A change in one process empties the near cache of the others, with each Redis client."""
    here, there = near_resolver(), near_resolver()
    before = settled(here)
    assert seen(here) == seen(there) == before
    change(there)
    wait_for_delivery()
    assert at_hand(here) is None
    assert seen(here) != before


def test_silence_is_a_loss(own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A connection without an answer for a second is closed, and the near cache is not used."""
    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        here = near_resolver()
        settled(here)
        with hung(own_redis_server):
            wait_until(lambda: "(TimeoutError)" in caplog.text, LONG)
            assert at_hand(here) is None


@pytest.mark.parametrize("change", CHANGES)
def test_own_changes_are_known_at_once(
    here: InstanceResolver, change: Callable[[InstanceResolver], object]
) -> None:
    """The process that makes a change drops its own copy at once, without the channel."""
    settled(here)
    change(here)
    assert at_hand(here) is None


def test_near_hit_asks_nobody(here: InstanceResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in the near cache is served without a read of the shared cache."""
    before = settled(here)
    monkeypatch.setattr(here.cache.tiers.shared, "read", None)
    assert seen(here) == before


def test_missing_is_at_hand(here: InstanceResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer "does not exist" is kept near, once the process has heard its own news of it."""
    assert seen(here, "nobody") == "InstanceNotFound"
    wait_for_delivery()
    wait_until(lambda: seen(here, "nobody") and here.cache.tiers.near.get("nobody"), LONG)
    monkeypatch.setattr(here.cache.tiers.shared, "read", None)
    assert seen(here, "nobody") == "InstanceNotFound"


def test_missing_that_is_created(here: InstanceResolver, there: InstanceResolver) -> None:
    """An instance that is created and invalidated is served, though it was unknown before."""
    settled(here)
    for _ in range(2):
        assert seen(here, "beta") == "InstanceNotFound"
    here.backend.instances["beta"] = {}
    there.cache.invalidate("beta")
    wait_for_delivery()
    assert seen(here, "beta") != "InstanceNotFound"


def test_project_is_heard(here: InstanceResolver, there: InstanceResolver) -> None:
    """Project mappings are kept near as well; a change of an instance does not drop them."""
    context = asks(OLGA, None, project_id="shop")
    here.resolve(context)
    wait_for_delivery()
    wait_until(lambda: [here.resolve(context), here.projects.near.get("shop")][1], LONG)
    there.cache.invalidate("shop")
    wait_for_delivery()
    assert here.projects.near.get("shop") is not None
    there.invalidate_project("shop")
    wait_for_delivery()
    assert here.projects.near.get("shop") is None


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("is_own", [False, True])
def test_read_that_began_before(
    here: InstanceResolver,
    there: InstanceResolver,
    everything: bool,
    is_own: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entry read before an invalidation is not kept in the near cache after it."""
    settled(here)
    changer, tiers = (here if is_own else there), here.cache.tiers
    plain, old = tiers.shared.read, []

    def read(asked: str, **options: Any) -> Any:
        found = plain(asked, **options)
        old.append(found)
        if len(old) == 1:
            if everything:
                changer.invalidate_all_caches()
            else:
                changer.cache.invalidate("acme")
            wait_for_delivery()
        return found

    tiers.near.drop("acme")
    monkeypatch.setattr(tiers.shared, "read", read)
    seen(here)
    assert len(old) == 1
    assert at_hand(here) is None


def test_read_that_is_heard_of_later(
    here: InstanceResolver, there: InstanceResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that was near before the invalidation was heard is dropped when it is heard."""
    settled(here)
    heard, go_on = Event(), Event()
    plain = here.cache.tiers.hear

    def hear(kind: str | None, asked: str | None) -> None:
        heard.set()
        assert go_on.wait(LONG)
        plain(kind, asked)

    monkeypatch.setattr(here.cache.tiers, "hear", hear)
    there.cache.invalidate("acme")
    assert heard.wait(LONG)
    assert seen(here) == at_hand(here)
    go_on.set()
    wait_for_delivery()
    assert at_hand(here) is None


def test_missing_that_is_not_believed(here: InstanceResolver, there: InstanceResolver) -> None:
    """A copy kept because the service lost everything is also kept in the near cache."""
    names = ["x", "y", "z"]
    here.backend.instances |= {name: {} for name in names}
    before = settled(here)
    for name in names:
        here.refresh(name)
    here.backend.instances.clear()
    for name in names:
        with pytest.raises(InstanceNotFound):
            here.refresh(name)
    wait_for_delivery()
    before = settled(here)
    with pytest.raises(ConfigServiceUnavailable):
        here.refresh("acme")
    wait_for_delivery()
    assert at_hand(here) == before == seen(there)


def test_off(alias: str) -> None:
    """With NEAR_CACHE_SIZE=0 nothing is kept near, and no process listens for invalidations."""
    here = near_resolver(near_cache_size=0)
    for _ in range(2):
        seen(here)
    assert not _channels
    here.cache.invalidate("acme")
    assert at_hand(here) is None
    assert channel()._thread is None


def test_locmem_off_by_default() -> None:
    """A cache without a channel has no near cache unless NEAR_CACHE_SIZE is set."""
    here = near_resolver("default")
    for _ in range(2):
        seen(here)
    assert at_hand(here) is None
    assert channel_of("default") is None


@pytest.mark.parametrize("change", CHANGES)
def test_locmem_on(change: Callable[[InstanceResolver], object]) -> None:
    """With NEAR_CACHE_SIZE set, a process without a channel notices its own changes at once."""
    here = near_resolver("default", near_cache_size=10)
    for _ in range(2):
        seen(here)
    assert at_hand(here) is not None
    change(here)
    assert at_hand(here) is None


def test_other_cache_of_the_same_process(alias: str) -> None:
    """A cache made for the purpose, as commands do, reaches the site's resolver."""
    here = near_resolver()
    settled(here)
    with override_settings(INSTANCE_LOOKUP={"NEAR_CACHE_SIZE": None}):
        InstanceCache(ALIAS).invalidate("acme")
    wait_for_delivery()
    assert at_hand(here) is None


@pytest.mark.parametrize("asked", ["acme", "a:b", "*", "ä", "\udc80"])
def test_ids_arrive(alias: str, asked: str) -> None:
    """Each id that the pattern of ids accepts arrives unchanged."""
    hearer = Hearer()
    channel().listen(hearer)
    wait_for_delivery()
    channel().publish("instance", asked)
    wait_for_delivery()
    assert ("instance", asked) in hearer.told


@pytest.mark.parametrize(
    "message", ["*", b"*", b"", b"nonsense", b"instance:", b"pod:acme", b"\xff\xfe", b"\x00:\x01"]
)
def test_message_of_another_form(message: bytes | str) -> None:
    """A message of another form names no id."""
    assert _named(message) is None


@pytest.mark.parametrize("message", ["instance:a:b", b"instance:a:b"])
def test_message_that_names_an_id(message: bytes | str) -> None:
    """A message that names an id gives that id, also when the client has decoded it."""
    assert _named(message) == ("instance", "a:b")


def test_decoding_client(redis_server: RedisServer) -> None:
    """Text of a ``decode_responses`` client is understood (RESP 2; on RESP 3 redis-py fails)."""
    config = near_config("redis", redis_server.url())
    config["OPTIONS"] |= {"decode_responses": True, "protocol": 2}
    with near_caches(instances=config):
        wait_for_delivery()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://10.0.0.5:6379/1", "Redis at 10.0.0.5:6379"),
        ("redis://:hunter2@redis.internal/0", "Redis at redis.internal:6379"),
        ("rediss://olga:hunter2@10.0.0.5:6380", "Redis at 10.0.0.5:6380"),
        ("redis://[::1]:7000", "Redis at [::1]:7000"),
        ("redis://", "Redis at localhost:6379"),
        ("unix://olga:hunter2@/run/redis.sock?db=1", "Redis at /run/redis.sock"),
    ],
)
def test_server_is_named_without_its_password(url: str, shown: str) -> None:
    """A log line names the server's address, and never its password."""
    assert _server_of(redis.Redis.from_url(url)) == shown


def test_server_of_valkey_is_named_so() -> None:
    """A Valkey server is called Valkey, not Redis."""
    assert _server_of(valkey.Valkey.from_url("valkey://10.0.0.5")) == "Valkey at 10.0.0.5:6379"


def test_server_behind_sentinel_is_named_by_its_service() -> None:
    """Its address can change at each failover, so log lines name the service instead."""
    sentinel: Any = redis.Sentinel
    primary = sentinel([("10.0.0.5", 26379)]).master_for("site", password="hunter2")
    assert _server_of(primary) == "Redis, primary 'site' of Sentinel"


def test_channel_of_one_name(alias: str) -> None:
    """The channel is named after KEY_PREFIX, for ACLs, and there is one for each process."""
    made = channel()
    assert isinstance(made, Channel)
    assert made is channel()
    assert made.name == f"{caches[alias].key_prefix}:instance_invalidations"
