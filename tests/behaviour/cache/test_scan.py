"""Which keys are named: all of this alias that begin so, and none of another's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup.cache.redis_client import client_of
from instance_lookup.cache.scan import scan
from tests.support.caches import LOCAL_KINDS
from tests.support.near import ALIAS, BACKENDS, near_caches, near_config
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

BEGINNING = "instance_config:"


@pytest.fixture(params=BACKENDS)
def config(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[dict[str, Any]]:
    """The settings of each kind of client, to be used as they are or with a change."""
    config = near_config(request.param, redis_server.url())
    yield config
    with near_caches(instances=config):
        caches[ALIAS].clear()


def names() -> list[str]:
    found = scan(caches[ALIAS], BEGINNING)
    assert found is not None
    return sorted(found)


def suffixing(key: str, prefix: str, version: int) -> str:
    return f"{version}[{key}]{prefix}"


def hashing(key: str, prefix: str, version: int) -> str:
    return hashlib.sha256(f"{prefix}:{version}:{key}".encode()).hexdigest()


def test_scan_names_what_follows_the_beginning(config: dict[str, Any]) -> None:
    """A scan names the rest of each key that begins so, and no key of another sort."""
    with near_caches(instances=config):
        for key in ("instance_config:acme", "instance_config:globex", "instance_generation:acme"):
            caches[ALIAS].set(key, "value")
        caches[ALIAS].set("instance_config", "value")
        assert names() == ["acme", "globex"]


def test_scan_of_nothing(config: dict[str, Any]) -> None:
    """A scan of an empty cache names nothing."""
    with near_caches(instances=config):
        assert names() == []


def test_scan_leaves_out_other_aliases_of_the_database(config: dict[str, Any]) -> None:
    """A scan names no key of another prefix, version or app on the same server."""
    others = {
        "longer": {**config, "KEY_PREFIX": f"{config['KEY_PREFIX']}-2"},
        "none": {**config, "KEY_PREFIX": ""},
        "newer": {**config, "VERSION": 2},
    }
    with near_caches(instances=config, **others):
        caches[ALIAS].set("instance_config:acme", "value")
        for other in others:
            caches[other].set(f"instance_config:{other}", "value")
        client_of(caches[ALIAS]).set("instance_config:raw", "value")
        assert names() == ["acme"]


@pytest.mark.parametrize("prefix", ["a*", "a?", "[ab]", "a\\", "a\\*", "^a-b", "ü"])
def test_scan_takes_a_prefix_as_it_is_written(config: dict[str, Any], prefix: str) -> None:
    """A prefix with characters that are special to SCAN is taken literally."""
    mine = {**config, "KEY_PREFIX": f"{config['KEY_PREFIX']}{prefix}"}
    decoys = [f"{config['KEY_PREFIX']}{decoy}" for decoy in ("a", "ab", "b", "a*x", "\\a")]
    others = {f"decoy{n}": {**config, "KEY_PREFIX": decoy} for n, decoy in enumerate(decoys)}
    with near_caches(instances=mine, **others):
        caches[ALIAS].set("instance_config:acme", "value")
        for other in others:
            caches[other].set("instance_config:decoy", "value")
        assert names() == ["acme"]


def test_scan_with_a_key_function(config: dict[str, Any]) -> None:
    """With a key function that puts the parts together in its own way the ids are found."""
    with near_caches(instances={**config, "KEY_FUNCTION": suffixing}):
        caches[ALIAS].set("instance_config:acme", "value")
        caches[ALIAS].set("instance_config:acme", "value", version=2)
        assert names() == ["acme"]


def test_scan_with_a_key_function_that_hides_the_key(config: dict[str, Any]) -> None:
    """With a key function that hashes, the scan returns ``None``, not an empty list."""
    with near_caches(instances={**config, "KEY_FUNCTION": hashing}):
        assert scan(caches[ALIAS], BEGINNING) is None


def test_scan_of_many_keys_goes_in_batches(config: dict[str, Any]) -> None:
    """A scan goes in batches with SCAN, and never uses KEYS, so other clients can go on."""
    with near_caches(instances=config):
        expected = sorted(f"i{number}" for number in range(1200))
        caches[ALIAS].set_many({f"instance_config:{name}": "value" for name in expected})
        client = client_of(caches[ALIAS])
        client.config_resetstat()
        assert sorted(set(names())) == expected
        calls = client.info("commandstats")
        assert "cmdstat_keys" not in calls
        assert calls["cmdstat_scan"]["calls"] > 1


def test_scan_of_a_client_that_gives_text(redis_server: RedisServer) -> None:
    """With ``decode_responses`` keys come as text, and are named as well."""
    config = near_config("redis", f"{redis_server.url()}")
    config["LOCATION"] += "&decode_responses=1"
    with near_caches(instances=config):
        client_of(caches[ALIAS]).set(caches[ALIAS].make_key("instance_config:acme"), "value")
        assert names() == ["acme"]


def test_scan_of_a_key_that_is_no_text(redis_server: RedisServer) -> None:
    """A foreign key that is no text hides none of the other keys."""
    with near_caches(instances=near_config("redis", redis_server.url())):
        beginning = str(caches[ALIAS].make_key("instance_config:")).encode()
        client_of(caches[ALIAS]).set(beginning + b"\xff", "value")
        caches[ALIAS].set("instance_config:acme", "value")
        assert names() == ["acme", "\ufffd"]


@pytest.mark.parametrize("backend", ["django-redis", "django-valkey"])
def test_scan_of_several_servers(redis_server: RedisServer, backend: str) -> None:
    """A client that spreads its keys over several servers returns ``None`` for a scan."""
    config = near_config(backend, redis_server.url())
    package = backend.replace("-", "_")
    config["OPTIONS"]["CLIENT_CLASS"] = f"{package}.client.ShardClient"
    with near_caches(instances=config):
        assert scan(caches[ALIAS], BEGINNING) is None


@pytest.mark.parametrize("cache_kind", LOCAL_KINDS)
def test_scan_of_other_caches(cache_alias: str) -> None:
    """A scan of any other cache returns ``None``."""
    caches[cache_alias].set("instance_config:acme", "value")
    assert scan(caches[cache_alias], BEGINNING) is None


def test_scan_of_a_server_that_hangs(own_redis_server: RedisServer) -> None:
    """A scan of a server that hangs ends at the alias's own timeout."""
    with near_caches(instances=near_config("redis", own_redis_server.url())):
        found = scan(caches[ALIAS], BEGINNING)
        assert found is not None
        own_redis_server.pause()
        with within(1), pytest.raises(Exception, match=r"(?i)timeout|timed out"):
            list(found)
        own_redis_server.resume()


def test_scan_of_a_cache_that_keeps_nothing() -> None:
    """A scan of DummyCache returns ``None``."""
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    with override_settings(CACHES={"default": dummy}):
        assert scan(caches["default"], BEGINNING) is None
