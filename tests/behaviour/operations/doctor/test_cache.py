"""What is found about the cache: that it keeps what it is given, and how it is set up."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.redis_client import RedisClient
from instance_lookup.cache.scan import scan
from instance_lookup.operations.doctor.cache import _eviction, _hear
from tests.behaviour.operations.doctor.support import PATIENT, SECRET, document, examined, levels
from tests.outages.test_acl import words
from tests.support.caches import MEMCACHED, use_cache
from tests.support.near import ALIAS, at_hand, near_caches, near_config, near_resolver, settled
from tests.support.servers import ScriptedServer, free_port, mute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from instance_lookup.operations.doctor.findings import Finding
    from tests.support.redis_server import RedisServer

REDIS = ["redis", "django-redis", pytest.param("django-valkey", marks=pytest.mark.full)]
OF_CACHE = ("round trip", "shared", "timeouts", "pickle", "servers", "instrumentation")
SERVICE = DictConfigService({"acme": document("acme")})


def of_cache(alias: str = ALIAS, **options: Any) -> dict[str, Finding]:
    """Return what is found about a cache, behind which there is a service in memory."""
    own = {"CONFIG_SERVICE_BACKEND": SERVICE, "CACHE_ALIAS": alias}
    with override_settings(INSTANCE_LOOKUP={**PATIENT, **own, **options}):
        found = examined()
    return {probe: found[probe] for probe in (*OF_CACHE, "pub/sub", "eviction")}


def told(found: dict[str, Finding]) -> dict[str, str]:
    return {probe: str(finding.level) for probe, finding in found.items()}


@pytest.mark.parametrize("cache_kind", ["locmem", "filebased", "db"])
def test_cache_without_server(cache_alias: str, cache_kind: str) -> None:
    """A cache without a server keeps what it is given; what it lacks is named."""
    found = of_cache(cache_alias)
    assert told(found) == {
        "round trip": "ok",
        "shared": "warning" if cache_kind == "locmem" else "ok",
        "timeouts": "skipped",
        "pickle": "ok",
        "servers": "skipped",
        "instrumentation": "warning" if cache_kind == "db" else "ok",
        "pub/sub": "skipped",
        "eviction": "ok",
    }
    assert found["eviction"].figures == {"room": 149}


@pytest.mark.parametrize("backend", REDIS)
def test_redis(backend: str, redis_server: RedisServer) -> None:
    """On a Redis that is set up for us all is right; its own key is gone, and no other touched."""
    config = near_config(backend, redis_server.url())
    config["OPTIONS"] |= {} if backend == "redis" else {"SOCKET_CONNECT_TIMEOUT": 1.0}
    with near_caches(instances=config):
        caches[ALIAS].set("theirs", "kept")
        found = of_cache()
        left = list(scan(caches[ALIAS], "") or ())
    assert told(found) == {
        **dict.fromkeys([*OF_CACHE, "pub/sub", "eviction"], "ok"),
        "servers": "skipped",
    }
    assert left == ["theirs"]


def test_probe_of_the_channel_forgets_nothing(redis_server: RedisServer) -> None:
    """What other processes have in memory stays there: what is published is of no instance."""
    with near_caches(instances=near_config("redis", redis_server.url())):
        resolver = near_resolver()
        settled(resolver)
        before = at_hand(resolver)
        assert of_cache()["pub/sub"].level == "ok"
        assert before is not None
        assert at_hand(resolver) is before


@contextmanager
def as_user(server: RedisServer, *rights: str) -> Iterator[None]:
    """Provide a cache whose user has these rights."""
    allowed = ("ACL", "SETUSER", "scout", "on", ">pw", "~*", "&*", "+@all", *rights)
    assert server.command(*allowed) == b"+OK"
    config = near_config("redis", server.url())
    config["LOCATION"] = config["LOCATION"].replace("//", "//scout:pw@")
    with near_caches(instances=config):
        yield
    server.command("ACL", "DELUSER", "scout")


@pytest.mark.parametrize(
    ("right", "probe", "level", "word"),
    [
        ("-publish", "pub/sub", "warning", "PUBLISH failed"),
        ("-subscribe", "pub/sub", "warning", "SUBSCRIBE failed"),
        ("-info", "eviction", "skipped", "may not ask (INFO)"),
        ("-set", "round trip", "error", "the cache failed"),
    ],
)
def test_user_without_a_right(
    right: str, probe: str, level: str, word: str, redis_server: RedisServer
) -> None:
    """A right that the user of a Redis lacks is named where it is needed."""
    with as_user(redis_server, right):
        finding = of_cache()[probe]
    assert (finding.level, word in finding.seen) == (level, True)
    assert "pw" not in finding.seen + finding.do


def test_user_with_the_documented_rights(own_redis_server: RedisServer) -> None:
    """With the rights that docs/explanation/security.md gives, nothing is to mend."""
    config = near_config("redis", own_redis_server.url())
    prefix = config["KEY_PREFIX"]
    assert own_redis_server.command(*words(prefix)) == b"+OK"
    config["LOCATION"] = config["LOCATION"].replace("//", f"//{prefix}:pw@")
    with near_caches(instances=config):
        found = of_cache()
    assert levels(found, "error") == levels(found, "warning") == set()
    assert found["eviction"].level == "skipped"


def test_channel_that_tells_nothing(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that does not come back is to be mended: it went to another server."""
    monkeypatch.setattr(RedisClient, "publish", lambda *args: None)
    monkeypatch.setattr("instance_lookup.operations.doctor.cache.GRACE", 30.0)
    with near_caches(instances=near_config("redis", redis_server.url())):
        found = of_cache(CONFIG_SERVICE_TIMEOUT=0.3)
    assert found["pub/sub"].level == "warning"
    assert found["pub/sub"].seen.startswith("nothing came back on ")


def test_other_messages_of_the_channel_are_passed_over() -> None:
    """What others publish meanwhile is not taken for ours, by a client of text or of bytes."""
    for data in (b"instance:doctor-1", "instance:doctor-1"):
        messages = [None, {"type": "message", "data": b"instance:acme"}]
        messages.append({"type": "message", "data": data})
        pubsub = Mock(get_message=Mock(side_effect=messages))
        assert _hear(pubsub, monotonic() + 60, "message", b"instance:doctor-1")


def test_channel_where_no_id_is_free(redis_server: RedisServer) -> None:
    """Where no id can be made up, nothing is published: it would mean all instances."""
    with near_caches(instances=near_config("redis", redis_server.url())):
        found = of_cache(INSTANCE_ID_PATTERN="acme|globex")
    assert found["pub/sub"].level == "skipped"


@pytest.mark.extras
def test_redis_that_is_down() -> None:
    """A Redis that is down is one error, and what needs it is skipped."""
    with near_caches(instances=near_config("redis", f"redis://u:{SECRET}@127.0.0.1:{free_port()}")):
        found = of_cache()
    assert found["round trip"].seen == "the cache failed (ConnectionError)"
    assert found["pub/sub"].level == found["eviction"].level == "skipped"
    assert levels(found, "error") == {"round trip"}
    assert SECRET not in str(found)


@pytest.mark.extras
def test_redis_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that never answers, asked without a timeout, is one error in time."""
    monkeypatch.setattr("instance_lookup.operations.doctor.cache.GRACE", 0.0)
    with ScriptedServer(on_connect=mute()) as server:
        config = near_config("redis", f"redis://127.0.0.1:{server.port}")
        config["OPTIONS"] = {}
        with near_caches(instances=config):
            found = of_cache(CONFIG_SERVICE_TIMEOUT=0.3)
            server.stop()
    assert found["round trip"].seen == "the cache does not answer within 0.3 s"
    assert found["timeouts"].level == "warning"
    assert "socket_timeout" in found["timeouts"].seen


class Forgetful(LocMemCache):
    """Swallows what it is given."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        pass


class Failing(LocMemCache):
    """Raises with everything that it knows."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        raise OSError(SECRET)


@pytest.mark.parametrize(
    ("backend", "level", "seen"),
    [
        (f"{__name__}.Forgetful", "error", "what was written to 'instances' is not there"),
        (f"{__name__}.Failing", "error", "the cache failed (OSError)"),
        (
            "django.core.cache.backends.dummy.DummyCache",
            "warning",
            "'instances' keeps nothing by design",
        ),
    ],
)
def test_cache_that_keeps_nothing(backend: str, level: str, seen: str) -> None:
    """A cache that does not keep what it is given is named, by no more than a class."""
    with near_caches(instances={"BACKEND": backend}):
        found = of_cache()
    assert (found["round trip"].level, found["round trip"].seen) == (level, seen)


def test_cache_with_room_for_too_few(tmp_path: Path) -> None:
    """A cache that holds fewer keys than the service lists instances drops some by chance."""
    service = DictConfigService({f"i{number}": document(f"i{number}") for number in range(5)})
    with use_cache("filebased", alias=ALIAS, directory=tmp_path, MAX_ENTRIES=10):
        found = of_cache(CONFIG_SERVICE_BACKEND=service)
    assert (found["eviction"].level, found["eviction"].figures) == ("warning", {"room": 4})


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.extras  # a client of memcached
def test_memcached(servers: int) -> None:
    """Several memcached servers are to be mended, whether they are up or not."""
    ports = [f"127.0.0.1:{free_port()}" for _ in range(servers)]
    config = {**MEMCACHED["pymemcache"], "LOCATION": ports}
    with near_caches(instances=config):
        found = of_cache()
        assert _eviction(ALIAS, None).level == "ok"
    assert found["round trip"].level == "error"
    assert found["servers"].level == ("ok" if servers == 1 else "warning")
    assert found["timeouts"].level == "ok"


@pytest.mark.extras
def test_redis_over_several_servers() -> None:
    """A client that spreads keys over servers is looked at by what the system checks say."""
    config = near_config("django-redis", f"redis://127.0.0.1:{free_port()}")
    config["OPTIONS"]["CLIENT_CLASS"] = "django_redis.client.ShardClient"
    config["LOCATION"] = [config["LOCATION"]]
    with near_caches(instances=config):
        found = of_cache()
        assert _eviction(ALIAS, None).seen == "not known of a RedisCache"
    assert found["pickle"].level == found["instrumentation"].level == "warning"
    assert found["timeouts"].seen == "not known of this cache"


def test_check_that_is_silenced() -> None:
    """What a project has silenced is skipped, and says so."""
    with override_settings(SILENCED_SYSTEM_CHECKS=["instance_lookup.W003"]):
        finding = of_cache("default")["shared"]
    assert (finding.level, finding.seen) == (
        "skipped",
        "SILENCED_SYSTEM_CHECKS has instance_lookup.W003",
    )
