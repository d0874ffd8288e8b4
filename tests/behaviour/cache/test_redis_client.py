"""Redis and Valkey at first hand: the alias's keys, plain values, and what is tried twice."""

from __future__ import annotations

import pickle
import queue
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.cache.backends import redis as builtin
from django_redis import cache as django_redis_cache

from instance_lookup import InstanceResolver, RateLimit, Source
from instance_lookup.cache.keyvalue import DjangoCache, key_values
from instance_lookup.cache.pubsub import publish
from instance_lookup.cache.redis_client import RedisClient, client_of
from instance_lookup.frozen import hide
from instance_lookup.throttling.counter import get_counter
from tests.support.balancer import Balancer
from tests.support.lookups import Service, acme, asks
from tests.support.near import ALIAS, BACKENDS, near_caches, near_config
from tests.support.redis_server import RedisServer
from tests.support.throttles import taken
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras

ENTRY = "instance_config:acme"
TOKENS = ("instance_generation", "instance_generation:acme", "instance_expiry:acme")
TEXT = '{"v":1,"instance_id":"acme"}'
VERBS: dict[str, Callable[[RedisClient], object]] = {
    "get_many": lambda cache: cache.get_many([ENTRY, *TOKENS]),
    "get": lambda cache: cache.get(ENTRY),
    "set": lambda cache: cache.set(ENTRY, TEXT, 60),
    "add": lambda cache: cache.add("instance_lease:acme", "taken", 60),
    "touch": lambda cache: cache.touch(ENTRY, 60),
    "delete": lambda cache: cache.delete(ENTRY),
    "publish": lambda cache: cache.publish("channel", b"message"),
}
each_verb = pytest.mark.parametrize("use", VERBS.values(), ids=VERBS)


@pytest.fixture(params=BACKENDS)
def config(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[dict[str, Any]]:
    """The settings of each kind of client, to be used as they are or with a change."""
    config = near_config(request.param, redis_server.url())
    yield config
    with near_caches(instances=config):
        caches[ALIAS].clear()


@pytest.fixture
def cache(config: dict[str, Any]) -> Iterator[RedisClient]:
    with near_caches(instances=config):
        yield opened()


@pytest.fixture(params=BACKENDS)
def balancer(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Balancer]:
    """A server that is reached over a balancer, under :data:`ALIAS`."""
    with Balancer(redis_server.port) as balancer:
        config = near_config(request.param, f"redis://127.0.0.1:{balancer.port}/0")
        if request.param == "django-valkey":
            from valkey.backoff import NoBackoff
            from valkey.retry import Retry

            config["OPTIONS"]["CONNECTION_POOL_KWARGS"] = {"retry": Retry(NoBackoff(), 0)}
        with near_caches(instances=config):
            yield balancer


def opened() -> RedisClient:
    cache = key_values[ALIAS]
    assert isinstance(cache, RedisClient)
    return cache


def leave_idle(cache: RedisClient, number: int) -> None:
    """Leave so many idle connections in the pool."""
    pool = cache._client.connection_pool
    words = ["PING"] if type(pool).__module__.startswith("valkey") else []
    taken = [pool.get_connection(*words) for _ in range(number)]
    for one in taken:
        pool.release(one)


def suffixing(key: str, prefix: str, version: int) -> str:
    return f"{version}[{key}]{prefix}"


@pytest.mark.parametrize("change", [{}, {"VERSION": 7}, {"KEY_FUNCTION": suffixing}])
def test_keys_are_the_aliass_own(config: dict[str, Any], change: dict[str, Any]) -> None:
    """Keys have the alias's prefix, version and key function, so aliases do not share keys."""
    with near_caches(instances={**config, **change}):
        opened().set(ENTRY, TEXT, 60)
        made = caches[ALIAS].make_key(ENTRY)
        assert client_of(caches[ALIAS]).get(made) == TEXT.encode()


def test_values_come_in_the_order_of_the_keys(cache: RedisClient) -> None:
    """``get_many`` returns one value for each key, and ``None`` where there is nothing."""
    cache.set("b", "g2", None)
    cache.set("a", "g1", 60)
    assert cache.get_many(["a", "nothing", "b", "a"]) == [b"g1", None, b"g2", b"g1"]
    assert (cache.get("a"), cache.get("nothing")) == (b"g1", None)


def test_lives_are_those_of_redis(cache: RedisClient) -> None:
    """A key lives for the given seconds; with ``None`` it does not expire."""
    made = caches[ALIAS].make_key("a")
    cache.set("a", "g1", 60)
    assert 0 < cache._client.ttl(made) <= 60
    cache.set("b", "g1", None)
    assert cache._client.ttl(caches[ALIAS].make_key("b")) == -1
    cache.touch("a", 50)
    assert 0 < cache._client.ttl(made) <= 50


def test_add_and_delete_tell(cache: RedisClient) -> None:
    """``add`` tells whether it stored the value, ``delete`` whether there was one."""
    assert (cache.add("a", "g1", 60), cache.add("a", "g2", None)) == (True, False)
    assert cache.get("a") == b"g1"
    assert (cache.delete("a"), cache.delete("a")) == (True, False)


def test_publish_reaches_those_who_listen(cache: RedisClient) -> None:
    """``publish`` reaches subscribers through the same client."""
    with cache._client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        cache.publish("news", b"hello")
        assert pubsub.get_message(timeout=5)["data"] == b"hello"


def test_one_client_for_all_threads_and_requests(cache: RedisClient) -> None:
    """One client serves all threads and requests until CACHES changes."""
    assert key_values[ALIAS] is cache
    with near_caches(instances=near_config("redis", "redis://127.0.0.1:1")):
        assert key_values[ALIAS] is not cache


class WrappedByDjango(builtin.RedisCache):
    """A wrapper of Django's Redis cache that counts, as django-prometheus has one."""

    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not by the methods of the cache")


class WrappedDjangoRedis(django_redis_cache.RedisCache):  # type: ignore[misc]
    """A wrapper of django-redis's cache."""

    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("not by the methods of the cache")


@pytest.mark.parametrize(
    ("kind", "backend"), [("redis", "WrappedByDjango"), ("django-redis", "WrappedDjangoRedis")]
)
def test_wrapped_caches(redis_server: RedisServer, kind: str, backend: str) -> None:
    """A subclass of a Redis cache is used through its Redis client."""
    config = near_config(kind, redis_server.url())
    with near_caches(instances={**config, "BACKEND": f"{__name__}.{backend}"}):
        opened().set("a", "g1", 60)
        assert opened().get_many(["a"]) == [b"g1"]


def test_other_caches_are_reached_by_django() -> None:
    """All other caches are used through Django, also those in front of a Redis."""
    assert isinstance(key_values["default"], DjangoCache)
    key_values["default"].publish("nobody", b"listens")


# --- values of the release before -------------------------------------------------------------

ZLIB = "django_redis.compressors.zlib.ZlibCompressor"
FORMER: dict[str, tuple[str, dict[str, Any]]] = {
    "redis": ("redis", {}),
    "redis-bytes": ("redis", {"serializer": "instance_lookup.serializers.BytesSerializer"}),
    "django-redis": ("django-redis", {}),
    "django-redis-pickle-2": ("django-redis", {"PICKLE_VERSION": 2}),
    "django-redis-json": (
        "django-redis",
        {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    ),
    "django-redis-zlib": ("django-redis", {"COMPRESSOR": ZLIB}),
    "django-valkey": ("django-valkey", {}),
}


@pytest.fixture(params=FORMER)
def former(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[None]:
    backend, options = FORMER[request.param]
    config = near_config(backend, redis_server.url())
    config["OPTIONS"] = {**config["OPTIONS"], **options}
    with near_caches(instances=config):
        yield
        caches[ALIAS].clear()


def test_former_values_are_read(former: None) -> None:
    """Values that the alias's own serializer and compressor wrote can be read."""
    long = TEXT + " " * 1000
    for text in (TEXT, long, "g0123456789abcdef", hide(TEXT)):
        caches[ALIAS].set(ENTRY, text)
        for value in (opened().get(ENTRY), opened().get_many([ENTRY])[0]):
            assert (value.decode() if isinstance(value, bytes) else value) == text


def test_former_entries_are_served(former: None) -> None:
    """Entries of the former format are served after an upgrade, and can be invalidated."""
    service = Service()
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=service)
    resolver.resolve(asks())
    for key in (ENTRY, *TOKENS[:2]):
        caches[ALIAS].set(key, opened().get(key).decode(), None)
    again = InstanceResolver(cache_alias=ALIAS, config_service_backend=service)
    assert again.resolve(asks()).source is Source.CACHE
    caches[ALIAS].set(TOKENS[1], "gwrittenbythereleasebefore", None)
    assert again.resolve(asks()).source is Source.SERVICE


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.path).touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_pickle_runs_nothing(cache: RedisClient, tmp_path: Path, protocol: int) -> None:
    """A pickle on the server is never loaded, and counts as absent."""
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
    resolver.resolve(asks())
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"), protocol)
    for key in (ENTRY, *TOKENS[:2]):
        cache._client.set(caches[ALIAS].make_key(key), bomb)
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert resolver.resolve(asks()).source is Source.CACHE
    assert not (tmp_path / "exploded").exists()


def test_json_that_is_too_deep(redis_server: RedisServer) -> None:
    """One such value counts as absent: the cache is not taken for one that fails."""
    config = near_config("django-redis", redis_server.url())
    config["OPTIONS"] = {**config["OPTIONS"], **FORMER["django-redis-json"][1]}
    with near_caches(instances=config):
        resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
        for key in (ENTRY, *TOKENS[:2]):
            resolver.resolve(asks())
            opened()._client.set(caches[ALIAS].make_key(key), "[" * 200_000)
            assert resolver.resolve(asks()).source is Source.SERVICE
            assert resolver.resolve(asks()).source is Source.CACHE
        assert resolver.get_cache_stats().errors == 0
        assert resolver.cache.tiers.health.breaker.is_closed
        caches[ALIAS].clear()


# --- connections ----------------------------------------------------------------------------


@each_verb
def test_forgotten_connections(balancer: Balancer, use: Callable[[RedisClient], object]) -> None:
    """When all connections of the pool were forgotten one command is repeated, and no other."""
    cache = opened()
    cache.set(ENTRY, TEXT, 60)
    leave_idle(cache, 5)
    balancer.forget()
    use(cache)
    for other in VERBS.values():
        other(cache)
    assert balancer.resets == 1


def test_invalidation_is_published_on_forgotten_connections(balancer: Balancer) -> None:
    """An invalidation is published even when the pooled connections were forgotten."""
    leave_idle(opened(), 3)
    balancer.forget()
    assert publish(ALIAS, "instance", "acme")
    assert balancer.resets == 1


def test_forgotten_connections_do_not_take_the_cache_out(balancer: Balancer) -> None:
    """After a quiet time a lookup is a hit, though the connections were forgotten."""
    service = Service()
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=service)
    resolver.resolve(asks())
    for _ in range(3):
        leave_idle(opened(), 4)
        balancer.forget()
        assert resolver.resolve(asks()).source is Source.CACHE
    assert resolver.cache.tiers.health.breaker.is_closed
    assert balancer.resets == 3


def test_invalidation_on_a_forgotten_connection(balancer: Balancer) -> None:
    """An invalidation on a forgotten connection is done and acknowledged."""
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
    resolver.resolve(asks())
    balancer.forget()
    assert resolver.invalidate_cache("acme")
    assert resolver.resolve(asks()).source is Source.SERVICE


def test_lease_that_may_have_been_taken_twice(balancer: Balancer) -> None:
    """A lease whose first answer was lost counts as unknown: another process may hold it."""
    cache = opened()
    cache.set("instance_lease:acme", "taken", 60)
    balancer.forget()
    assert cache.add("instance_lease:acme", "taken", 60) is None
    assert cache.add("instance_lease:acme", "taken", 60) is False


@each_verb
def test_second_try_is_the_last(balancer: Balancer, use: Callable[[RedisClient], object]) -> None:
    """When the fresh connection breaks as well, the error is raised."""
    cache = opened()
    cache.set(ENTRY, TEXT, 60)
    leave_idle(cache, 3)
    balancer.refuses = True
    balancer.forget()
    with pytest.raises(Exception, match=r"(?i)reset|closed|broken"):
        use(cache)
    assert balancer.resets == 2


@each_verb
def test_refused_connection_is_no_second_try(
    own_redis_server: RedisServer, use: Callable[[RedisClient], object]
) -> None:
    """A refused connection is not tried again at once."""
    with near_caches(instances=near_config("redis", own_redis_server.url())):
        own_redis_server.kill()
        with pytest.raises(Exception, match="refused"):
            use(opened())
        assert opened()._repeated == 0


@each_verb
def test_late_answer_is_no_second_try(
    own_redis_server: RedisServer, use: Callable[[RedisClient], object]
) -> None:
    """A timeout is not tried again, and the idle connections are not used any more."""
    with near_caches(instances=near_config("redis", own_redis_server.url())):
        cache = opened()
        leave_idle(cache, 2)
        own_redis_server.pause()
        with within(1.8), pytest.raises(Exception, match=r"(?i)timeout|timed out"):
            use(cache)
        own_redis_server.resume()
        assert cache._repeated == 0


# --- clusters -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    """A cluster of one node, which has all slots."""
    with RedisServer("--cluster-enabled", "yes") as server:
        assert server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == b"+OK"
        wait_until(lambda: server.command("SET", "a", "b") == b"+OK", 30)
        yield server


@pytest.mark.parametrize("backend", BACKENDS)
def test_cluster_is_a_cache(cluster: RedisServer, backend: str) -> None:
    """A cluster can be the cache, though its keys are in several slots."""
    with near_caches(instances=near_config(backend, cluster.url())):
        resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert resolver.resolve(asks()).source is Source.CACHE
        assert resolver.invalidate_cache("acme")
        assert resolver.resolve(asks()).source is Source.SERVICE
        resolver.invalidate_all_caches()
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert resolver.cache.stats.errors == 0
        assert taken(get_counter(ALIAS), RateLimit(rpm=1, rpm_burst=3), 5) == 3


def connect_to_cluster(url: str) -> Any:
    from redis.cluster import RedisCluster

    return RedisCluster.from_url(url)


class ClusterFactory:
    """A connection factory that gives django-redis the client of a cluster."""

    def __init__(self, options: dict[str, Any]) -> None:
        pass

    def connect(self, url: str) -> Any:
        return connect_to_cluster(url)


def test_client_of_a_cluster(cluster: RedisServer) -> None:
    """The client of a cluster is used key by key: a command must not name several slots."""
    config = near_config("django-redis", cluster.url())
    config["LOCATION"] = cluster.url()
    config["OPTIONS"] = {"CONNECTION_FACTORY": f"{__name__}.ClusterFactory"}
    with near_caches(instances=config):
        resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert resolver.resolve(asks()).source is Source.CACHE
        assert resolver.cache.stats.errors == 0
        assert taken(get_counter(ALIAS), RateLimit(rpm=1, rpm_burst=3), 5) == 3
        assert opened()._mends(ConnectionError("closed"))  # it has pools of its own
        opened()._client.close()


# --- what else may go wrong -----------------------------------------------------------------


def test_keys_of_a_function_of_the_project_are_asked_for_each_time(config: dict[str, Any]) -> None:
    """A key function is called each time: it may give other keys later, say per tenant schema."""
    config["KEY_FUNCTION"] = f"{__name__}.key_of_the_moment"
    with near_caches(instances=config):
        cache = opened()
        for moment in ("first", "second"):
            _moment.append(moment)
            assert cache._key("a").endswith(f"{moment}:a".encode())


_moment = [""]


def key_of_the_moment(key: str, prefix: str, version: int) -> str:
    return f"{prefix}:{_moment[-1]}:{key}"


class PoolWithoutChoice:
    """A pool like valkey-py's ``BlockingConnectionPool``: it closes all connections, or none."""

    def disconnect(self, _: object = True) -> None:
        raise AssertionError("those in use were closed")


def test_pool_that_cannot_close_idle_connections_alone(cache: RedisClient) -> None:
    """With such a pool the command is still repeated, and the first error is not hidden."""
    cache.set("a", "g1", 60)
    cache._client.connection_pool, pool = PoolWithoutChoice(), cache._client.connection_pool
    broken = _error("ConnectionError", ConnectionResetError("reset"))
    try:
        assert cache._mends(broken)
    finally:
        cache._client.connection_pool = pool


@pytest.mark.parametrize("reason", [queue.Empty(), IndexError()])
def test_pool_without_a_connection_is_not_waited_for_twice(
    cache: RedisClient, reason: Exception
) -> None:
    """A pool without a free connection is not waited for twice."""
    assert not cache._mends(_error("ConnectionError", reason))


def _error(name: str, reason: Exception) -> Exception:
    error: Exception = type(name, (Exception,), {})("no connection")
    error.__context__ = reason
    return error


@pytest.mark.parametrize(
    ("said", "is_cluster"),
    [
        ("CROSSSLOT Keys in request don't hash to the same slot", True),
        ("MGET - all keys must map to the same key slot", True),
        ("Error 111 connecting to slot-1.internal:6379. Connection refused.", False),
    ],
)
def test_server_of_a_cluster_is_known_by_what_it_says(
    cache: RedisClient, monkeypatch: pytest.MonkeyPatch, said: str, is_cluster: bool
) -> None:
    """A cluster is recognised by its answer, since a host may have any name."""

    def execute(*words: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(cache, "_execute", execute)
    with suppress(OSError):
        cache.get_many(["a"])
    assert cache._is_cluster is is_cluster


def test_pickle_that_wants_much_memory_is_refused(cache: RedisClient) -> None:
    """A pickle that asks for much memory is refused before it is loaded."""
    greedy = b"\x80\x02Nr\xff\xff\xff\x0f."
    cache._client.set(caches[ALIAS].make_key("a"), greedy)
    with pytest.raises(pickle.UnpicklingError, match="place 268435455"):
        cache.get("a")


def test_unreadable_value_on_a_server_that_takes_no_writes(
    cache: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable value on a read-only server counts as absent; other entries are served."""
    service = Service()
    service.instances["other"] = acme("other", instance_id="other")
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=service)
    for name in ("acme", "other"):
        resolver.resolve(asks(instance_id=name))
    cache._client.set(caches[ALIAS].make_key(ENTRY), b"\x80nonsense")

    def refuse(*words: object) -> None:
        raise OSError("read-only")

    for verb in ("set", "delete", "touch", "add"):
        monkeypatch.setattr(cache, verb, refuse)
    again = InstanceResolver(cache_alias=ALIAS, config_service_backend=service)
    assert again.resolve(asks()).source is Source.SERVICE
    assert again.resolve(asks(instance_id="other")).source is Source.CACHE
