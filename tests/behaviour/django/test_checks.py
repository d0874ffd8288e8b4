from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.checks import check_deployment, check_middleware, check_settings
from instance_lookup.identifiers import SubdomainIdentifier
from instance_lookup.middleware import InstanceConfigMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.checks import CheckMessage
    from pytest_django.fixtures import Settings

OURS = "instance_lookup.middleware.InstanceConfigMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
URL = "https://config.example.com"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
REDIS = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
BYTES = "instance_lookup.serializers.BytesSerializer"
FERNET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Subclass(InstanceConfigMiddleware):
    pass


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("instance_lookup.") for message in messages]


def broken_backend(*args: object) -> None:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["E004"]),
        ({"CONFIG_SERVICE_URL": URL}, []),
        ([("CONFIG_SERVICE_URL", URL)], ["E001"]),
        ({"CONFIG_SERVICE_URL": URL, "CACHE_TL": 3}, ["E002"]),
        ({"CONFIG_SERVICE_URL": URL, "cache_ttl": 3}, ["E002"]),
        ({"CONFIG_SERVICE_URL": URL, "CACHE_TTL": -3}, ["E003"]),
        ({"CONFIG_SERVICE_URL": URL, "CACHE_TTL": 300, "STALE_MAX_AGE": 200}, ["E003"]),
        ({"CONFIG_SERVICE_URL": URL, "ACCESS_POLICY": "nowhere.at.all"}, ["E003"]),
        ({"CONFIG_SERVICE_URL": "config.example.com"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": "ftp://config.example.com"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": "https://u:hunter2@config.example.com"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": "https://config.example.com/?x=1"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": "https://[config"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": f"{URL}\n"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": f" {URL}"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": f"{URL}/a b"}, ["E005"]),
        ({"CONFIG_SERVICE_URL": " "}, ["E005"]),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": None}, []),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": "http://proxy.internal:3128"}, []),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": "http://u:p@proxy.internal"}, []),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": "https://proxy.internal"}, ["E003"]),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": "proxy.internal:3128"}, ["E003"]),
        ({"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": ""}, ["E003"]),
        ({"CONFIG_SERVICE_URL": URL, "CACHE_ALIAS": "redis"}, ["E007"]),
        (
            {
                "CONFIG_SERVICE_URL": URL,
                "IDENTIFIERS": ["instance_lookup.identifiers.SubdomainIdentifier"],
            },
            ["E009"],
        ),
        ({"CONFIG_SERVICE_URL": URL, "IDENTIFIERS": [SubdomainIdentifier("example.com")]}, []),
        ({"CONFIG_SERVICE_BACKEND": "instance_lookup.backends.memory.DictConfigService"}, []),
    ],
)
def test_settings(settings: Settings, options: Any, expected: list[str]) -> None:
    """Each mistake has one error, with an id of its own."""
    settings.INSTANCE_LOOKUP = options
    assert ids(check_settings()) == expected


def test_unknown_setting_names_the_nearest(settings: Settings) -> None:
    """A typo is mended by reading the hint."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL, "CACHE_TL": 3}
    [error] = check_settings()
    assert "CACHE_TL" in error.msg
    assert error.hint == "Did you mean 'CACHE_TTL'?"


def test_password_in_the_url_is_not_shown(settings: Settings) -> None:
    """The check's message shows no password of the URL: it ends up in build logs."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": "https://u:hunter2@config.example.com"}
    [error] = check_settings()
    assert "hunter2" not in f"{error.msg}{error.hint}"


def test_password_of_the_proxy_is_not_shown(settings: Settings) -> None:
    """The error for a bad proxy URL never shows the URL's password."""
    proxy = "https://u:hunter2@proxy.example.com"
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL, "CONFIG_SERVICE_PROXY": proxy}
    [error] = check_settings()
    assert "CONFIG_SERVICE_PROXY" in error.msg
    assert "hunter2" not in f"{error.msg}{error.hint}"


def test_encryption_without_cryptography(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found at start-up, not at the first request."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL, "ENCRYPTION_KEYS": [FERNET_KEY]}
    monkeypatch.setattr("instance_lookup.checks.find_spec", lambda name: None)
    assert ids(check_settings()) == ["E006"]


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([USERS, OURS], []),
        ([USERS, f"{__name__}.Subclass"], []),
        ([OURS, USERS], ["E008"]),
        ([OURS], []),
        ([USERS], ["W001"]),
        (["nowhere.At.All", USERS, OURS], []),
        ([f"{__name__}.broken_backend", USERS, OURS], []),
    ],
)
def test_middleware(settings: Settings, middleware: list[str], expected: list[str]) -> None:
    """The middleware must come after the one that sets the user."""
    settings.MIDDLEWARE = middleware
    assert ids(check_middleware()) == expected


def test_site_without_users_starts() -> None:
    """The models of ``django.contrib.auth`` cannot be imported where it is not installed."""
    script = f"""
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["instance_lookup"],
    MIDDLEWARE=[{OURS!r}],
    INSTANCE_LOOKUP={{"CONFIG_SERVICE_URL": {URL!r}}},
)
import django
from django.core.management import call_command
django.setup()
call_command("check")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://config.example.com", ["W002"]),
        ("http://localhost:8001", []),
        ("http://127.0.0.1:8001", []),
        ("http://[::1]:8001", []),
        (URL, []),
    ],
)
def test_deployment_url(settings: Settings, url: str, expected: list[str]) -> None:
    """API keys do not cross a network in the clear."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": url}
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "cache"}}
    assert ids(check_deployment()) == expected


class _Http(HttpConfigService):
    """A backend of a project's own."""


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("instance_lookup.backends.http.HttpConfigService", []),
        (_Http, []),
        (_Http(url="https://config.example.com"), []),
        ("instance_lookup.backends.file.FileConfigService", ["E011"]),
        (DictConfigService({}, {}), ["E011"]),
    ],
)
def test_stream_of_a_backend(settings: Any, backend: Any, expected: list[str]) -> None:
    """Only the HTTP backend, and what is made of it, has a stream."""
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_URL": "https://config.example.com",
        "CONFIG_SERVICE_BACKEND": backend,
        "CONFIG_SERVICE_STREAM": "/stream",
    }
    assert ids(check_settings()) == expected


@pytest.mark.parametrize(
    ("stream", "expected"),
    [("stream", ["E003"]), (5, ["E003"]), ("https://elsewhere.example/stream", ["E003"])],
)
def test_stream_that_is_none(settings: Any, stream: Any, expected: list[str]) -> None:
    """A path that is none, or on another host, is an error."""
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_URL": "https://config.example.com",
        "CONFIG_SERVICE_STREAM": stream,
    }
    assert ids(check_settings()) == expected


@pytest.mark.parametrize(
    ("cache", "part"),
    [(LOCMEM, "each process connects"), (DUMMY, "no process listens")],
)
def test_stream_without_a_shared_cache(settings: Any, cache: str, part: str) -> None:
    """Processes that share no cache cannot agree which of them listens."""
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_URL": "https://config.example.com",
        "CONFIG_SERVICE_STREAM": "/stream",
    }
    settings.CACHES = {"default": {"BACKEND": cache}}
    found = check_deployment()
    assert ids(found) == ["W003", "W012"]
    assert part in found[1].msg


QUICK = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ({"BACKEND": LOCMEM}, ["W003"]),
        ({"BACKEND": DUMMY}, ["W003"]),
        ({"BACKEND": "nowhere.at.All"}, []),
        ({"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "t"}, ["W010"]),
        ({"BACKEND": REDIS, "LOCATION": "redis://r"}, ["W005"]),
        ({"BACKEND": REDIS, "LOCATION": "redis://r", "OPTIONS": QUICK}, []),
        ({"BACKEND": REDIS, "LOCATION": ["redis://a", "redis://b"], "OPTIONS": QUICK}, []),
        (
            {"BACKEND": REDIS, "LOCATION": ["redis://r"], "OPTIONS": {"serializer": BYTES}},
            ["W005"],
        ),
        (
            {
                "BACKEND": REDIS,
                "LOCATION": "redis://r?socket_timeout=1&socket_connect_timeout=1",
                "OPTIONS": {"serializer": BYTES},
            },
            [],
        ),
        (
            {
                "BACKEND": REDIS,
                "LOCATION": "redis://r",
                "OPTIONS": {
                    **QUICK,
                    "serializer": "django.core.cache.backends.redis.RedisSerializer",
                },
            },
            [],
        ),
        (
            {
                "BACKEND": REDIS,
                "LOCATION": "redis://r",
                "OPTIONS": {**QUICK, "serializer": object()},
            },
            [],
        ),
    ],
)
def test_deployment_cache(settings: Settings, cache: dict[str, Any], expected: list[str]) -> None:
    """A cache for production is shared, cannot run code, and cannot hang the site."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL}
    settings.CACHES = {"default": cache}
    assert ids(check_deployment()) == expected


QUICK_SHARDS = {
    "CONNECTION_POOL_KWARGS": QUICK,
    "CLIENT_CLASS": "django_redis.client.ShardClient",
}
REDIS_PACKAGE = "django_redis.serializers"
BOTH = ["W004", "W010"]


@pytest.mark.extras
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["W005"]),
        ({"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1}, []),
        ({"CONNECTION_POOL_KWARGS": QUICK}, []),
        (QUICK_SHARDS, ["W004", "W010"]),
        ({**QUICK_SHARDS, "SERIALIZER": f"{REDIS_PACKAGE}.pickle.PickleSerializer"}, BOTH),
        ({**QUICK_SHARDS, "SERIALIZER": f"{REDIS_PACKAGE}.json.JSONSerializer"}, ["W010"]),
        ({**QUICK_SHARDS, "SERIALIZER": BYTES}, ["W010"]),
        ({**QUICK_SHARDS, "SERIALIZER": object()}, ["W010"]),
    ],
)
def test_deployment_django_redis(
    settings: Settings, options: dict[str, Any], expected: list[str]
) -> None:
    """django-redis spells its options in upper case. Its shards are reached by Django."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL}
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://r", "OPTIONS": options}
    settings.CACHES = {"default": cache}
    assert ids(check_deployment()) == expected


@pytest.mark.extras
def test_sealed_values_may_be_seen(settings: Settings) -> None:
    """With ENCRYPTION_KEYS any cache is accepted: what it holds is encrypted."""
    key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL, "ENCRYPTION_KEYS": [key]}
    backend = "django.core.cache.backends.db.DatabaseCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "t"}}
    assert check_deployment() == []


PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
PYLIBMC = "django.core.cache.backends.memcached.PyLibMCCache"
BEHAVIORS = {
    "_poll_timeout": 200,
    "connect_timeout": 200,
    "receive_timeout": 200_000,
    "send_timeout": 200_000,
}


class OtherMemcached(BaseMemcachedCache):
    """A memcached backend with a client that we do not know."""


@pytest.mark.parametrize(
    ("backend", "options", "missing"),
    [
        (PYMEMCACHE, {"connect_timeout": 0.2, "timeout": 0.2}, []),
        (PYMEMCACHE, {"connect_timeout": 0.2, "timeout": None}, ["timeout"]),
        (PYMEMCACHE, {"timeout": 0.2}, ["connect_timeout"]),
        (PYMEMCACHE, {}, ["connect_timeout", "timeout"]),
        (PYMEMCACHE, None, ["connect_timeout", "timeout"]),
        (PYLIBMC, {"binary": True, "behaviors": BEHAVIORS}, []),
        (PYLIBMC, {"behaviors": {**BEHAVIORS, "send_timeout": 0}}, ["send_timeout"]),
        (PYLIBMC, {"behaviors": {**BEHAVIORS, "_poll_timeout": 0}}, ["_poll_timeout"]),
        (PYLIBMC, {"behaviors": {"ketama": True}}, list(BEHAVIORS)),
        (PYLIBMC, BEHAVIORS, list(BEHAVIORS)),
        (f"{__name__}.OtherMemcached", {}, []),
    ],
)
def test_deployment_memcached_timeouts(
    settings: Settings, backend: str, options: Any, missing: list[str]
) -> None:
    """A memcached client without the timeouts that a request needs gets a warning."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL}
    cache = {"BACKEND": backend, "LOCATION": "10.0.0.5:11211", "OPTIONS": options}
    settings.CACHES = {"default": cache}
    messages = check_deployment()
    assert ids(messages) == (["W005"] if missing else [])
    assert [f"no {' and no '.join(missing)}:" in each.msg for each in messages] == [True] * len(
        messages
    )
    assert all("OPTIONS: {" in str(each.hint) for each in messages)


@pytest.mark.parametrize("location", [["10.0.0.5:1", "10.0.0.6:1"], "10.0.0.5:1;10.0.0.6:1"])
@pytest.mark.parametrize("backend", [PYMEMCACHE, PYLIBMC, f"{__name__}.OtherMemcached"])
def test_deployment_memcached_servers(settings: Settings, backend: str, location: object) -> None:
    """Several memcached servers get a warning: keys that move may bring old generations back."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL}
    options: dict[str, Any] = {"behaviors": BEHAVIORS}
    if backend == PYMEMCACHE:
        options = {"connect_timeout": 1, "timeout": 1}
    cache = {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {"default": cache}
    [warning] = check_deployment()
    assert ids([warning]) == ["W007"]
    assert warning.hint == "Name one server, or use Redis or Valkey."


@pytest.mark.parametrize("options", [{"CACHE_TTL": "soon"}, {"CACHE_ALIAS": "elsewhere"}])
def test_deployment_with_wrong_settings_leaves_them_to_the_other_check(
    settings: Settings, options: dict[str, Any]
) -> None:
    """Wrong settings are reported by one check only."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": URL, **options}
    assert check_deployment() == []
    assert check_settings() != []


def test_checks_are_registered(settings: Settings) -> None:
    """``manage.py check`` runs them."""
    call_command("check")
    settings.INSTANCE_LOOKUP = {"CACHE_TL": 3}
    with pytest.raises(SystemCheckError, match=r"instance_lookup\.E002"):
        call_command("check")


def test_checks_ask_nobody(settings: Settings, no_network: Callable[[], None]) -> None:
    """``manage.py check`` works where neither the Config Service nor Redis can be reached."""
    no_network()
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1:9"}}
    call_command("check", deploy=True)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(*args: object) -> None:
            raise AssertionError(f"connected to {args}")

        monkeypatch.setattr("socket.socket.connect", refuse)

    return forbid
