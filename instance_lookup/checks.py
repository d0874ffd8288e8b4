"""System checks: what is wrong with the settings, and what to type instead. Never the network."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import (
    BaseMemcachedCache,
    PyLibMCCache,
    PyMemcacheCache,
)
from django.core.cache.backends.redis import RedisCache, RedisSerializer
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name for it
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from instance_lookup.backends.http import HttpConfigService
from instance_lookup.conf import (
    NAME,
    Settings,
    find_problems,
    get_settings,
    raw_options,
    validators,
)
from instance_lookup.middleware import InstanceConfigMiddleware
from instance_lookup.resolver import InstanceResolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")
_PYMEMCACHE = "OPTIONS: {'connect_timeout': 0.2, 'timeout': 0.2}, in seconds."
_PYLIBMC = (
    "OPTIONS: {'behaviors': {'connect_timeout': 200, '_poll_timeout': 200, "
    "'send_timeout': 200_000, 'receive_timeout': 200_000}}, the first two in "
    "milliseconds, the others in microseconds."
)


def check_settings(**kwargs: object) -> list[CheckMessage]:
    """Check ``INSTANCE_LOOKUP`` and what it points at."""
    try:
        options = raw_options()
    except ImproperlyConfigured as exc:
        return [Error(str(exc), hint=f"{NAME} = {{...}}", id="instance_lookup.E001")]
    if problems := list(find_problems(options)):
        hint = "docs/reference/settings.md has all settings, and what each may be."
        return [
            _error(
                "E002" if each.unknown else "E003", each.setting, each.message, each.hint or hint
            )
            for each in problems
        ]
    found = get_settings()
    return list(_check_values(found)) or list(_check_build())


def check_middleware(**kwargs: object) -> list[CheckMessage]:
    """Check that the middleware is there, and behind the one that knows the user."""
    classes = [_class_or_none(path) for path in settings.MIDDLEWARE]
    ours = _position(classes, InstanceConfigMiddleware)
    if ours is None:
        return [
            Warning(
                "InstanceConfigMiddleware is not in MIDDLEWARE: requests have no instance_config.",
                hint="Add 'instance_lookup.middleware.InstanceConfigMiddleware' after "
                "'django.contrib.auth.middleware.AuthenticationMiddleware'.",
                id="instance_lookup.W001",
            )
        ]
    if not apps.is_installed("django.contrib.auth"):
        return []
    # Not above: without the app its models cannot be imported, and so the site not be started.
    from django.contrib.auth.middleware import AuthenticationMiddleware  # noqa: PLC0415

    users = _position(classes, AuthenticationMiddleware)
    if users is not None and ours < users:
        return [
            Error(
                "InstanceConfigMiddleware stands before AuthenticationMiddleware in MIDDLEWARE.",
                hint="Move it below 'django.contrib.auth.middleware.AuthenticationMiddleware', "
                "which sets request.user.",
                id="instance_lookup.E008",
            )
        ]
    return []


def check_deployment(**kwargs: object) -> list[CheckMessage]:
    """Check what matters in production: with ``manage.py check --deploy``."""
    try:
        found = get_settings()
    except ImproperlyConfigured:
        return []  # check_settings says so
    alias = settings.CACHES.get(found.cache_alias)
    if alias is None:
        return [*_advise_url(found)]
    return [*_advise_url(found), *_advise_cache(found, alias)]


def _error(number: str, setting: str, complaint: str, hint: str) -> Error:
    return Error(f"{NAME}[{setting!r}] {complaint}", hint or None, id=f"instance_lookup.{number}")


def _check_values(found: Settings) -> Iterator[CheckMessage]:
    """Check what a value alone does not tell: the backend, packages and ``CACHES``."""
    backend, url = found.load("config_service_backend"), found.config_service_url
    if isinstance(backend, type) and issubclass(backend, HttpConfigService):
        hint = "Set it to the base URL of the Config Service, such as 'https://config.example.com'."
        if not url:
            yield _error("E004", "CONFIG_SERVICE_URL", "is missing.", hint)
        elif complaint := validators.service_url(url):
            yield _error("E005", "CONFIG_SERVICE_URL", complaint, hint)
    elif found.config_service_stream and not isinstance(backend, HttpConfigService):
        hint = "Leave it out, or use HttpConfigService or a subclass of it."
        complaint = f"needs the HTTP backend; CONFIG_SERVICE_BACKEND, {backend!r}, has no stream."
        yield _error("E011", "CONFIG_SERVICE_STREAM", complaint, hint)
    if found.encryption_keys and find_spec("cryptography") is None:
        hint = "pip install 'instance-lookup[encryption]'"
        yield _error("E006", "ENCRYPTION_KEYS", "needs the package cryptography.", hint)
    if found.cache_alias not in settings.CACHES:
        hint = f"CACHES has: {', '.join(map(repr, settings.CACHES))}."
        complaint = f"is {found.cache_alias!r}, which is not in CACHES."
        yield _error("E007", "CACHE_ALIAS", complaint, hint)


def _check_build() -> Iterator[CheckMessage]:
    """Build what every request will need; that does no I/O."""
    try:
        InstanceResolver()
    except Exception as exc:  # noqa: BLE001  # a backend, identifier or policy of the project's
        yield Error(
            f"No resolver can be made from {NAME}: {type(exc).__name__}: {exc}",
            hint="If an identifier or backend takes arguments, put in an object, not its path.",
            id="instance_lookup.E009",
        )


def _advise_url(found: Settings) -> Iterator[CheckMessage]:
    url = urlsplit(found.config_service_url)
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        yield Warning(
            f"{NAME}['CONFIG_SERVICE_URL'] is plain http: API keys cross the network unencrypted.",
            hint="Use https, inside your own network as well.",
            id="instance_lookup.W002",
        )


def _advise_cache(found: Settings, alias: Mapping[str, Any]) -> Iterator[CheckMessage]:
    name, backend = found.cache_alias, _class_or_none(alias["BACKEND"])
    if not isinstance(backend, type):
        return
    options = {key.lower(): value for key, value in (alias.get("OPTIONS") or {}).items()}
    # A client of django-redis or django-valkey that spreads its keys over servers.
    is_sharded = "ShardClient" in str(options.get("client_class"))
    if issubclass(backend, LocMemCache | DummyCache):
        yield Warning(
            f"CACHES[{name!r}] is {backend.__name__}: processes do not share it, so an "
            "invalidation reaches only the process that makes it.",
            hint="Use Redis or Valkey, or name another alias in CACHE_ALIAS.",
            id="instance_lookup.W003",
        )
        if found.config_service_stream:
            yield _advise_stream(name, backend)
    if issubclass(backend, BaseMemcachedCache):
        yield from _advise_memcached(name, alias, backend)
    if is_sharded and _pickles(options.get("serializer")):
        yield Warning(
            f"CACHES[{name!r}] unpickles what it reads: anyone who can write to its servers can "
            "run code in this site.",
            hint="OPTIONS: {'SERIALIZER': 'instance_lookup.serializers.BytesSerializer'}, "
            "with an alias for this app only. Or use one server, which needs neither.",
            id="instance_lookup.W004",
        )
    if _is_redis(backend):
        missing = [option for option in _TIMEOUTS if not _has_option(option, options, alias)]
        hint = "Set both in OPTIONS, to some 0.2 seconds; django-redis takes them in capitals."
        yield from _advise_timeouts(name, missing, hint)
    # Both are reached by Django's API: their clients get the values in a form that can be read.
    if (is_sharded or issubclass(backend, BaseDatabaseCache)) and not found.encryption_keys:
        yield Warning(
            f"Tools that monitor the client of CACHES[{name!r}] see API keys in the stored values.",
            hint=f"Set {NAME}['ENCRYPTION_KEYS'], or use Redis or Valkey on one server.",
            id="instance_lookup.W010",
        )


def _advise_stream(name: str, backend: type) -> CheckMessage:
    is_kept = issubclass(backend, LocMemCache)
    who = "each process connects for itself" if is_kept else "no process listens"
    return Warning(
        f"CACHES[{name!r}] is {backend.__name__}, which processes do not share: {who} to the stream"
        " of the Config Service.",
        hint=f"Use Redis or Valkey, or leave out {NAME}['CONFIG_SERVICE_STREAM'].",
        id="instance_lookup.W012",
    )


def _advise_memcached(
    name: str, alias: Mapping[str, Any], backend: type[BaseMemcachedCache]
) -> Iterator[CheckMessage]:
    if len(_locations(alias)) > 1:
        yield Warning(
            f"CACHES[{name!r}] is several memcached servers: when one of them goes and comes back, "
            "keys move to another and back. Entries that were invalidated then are served again.",
            hint="Name one server, or use Redis or Valkey.",
            id="instance_lookup.W007",
        )
    options = alias.get("OPTIONS") or {}
    if issubclass(backend, PyMemcacheCache):
        needed, hint = {"connect_timeout", "timeout"}, _PYMEMCACHE
    elif issubclass(backend, PyLibMCCache):
        options = options.get("behaviors") or {}
        # Without the second one libmemcached waits for 5 s, whatever the others say.
        needed = {"connect_timeout", "_poll_timeout", "send_timeout", "receive_timeout"}
        hint = _PYLIBMC
    else:
        return  # a client that we do not know
    missing = sorted(option for option in needed if not options.get(option))
    yield from _advise_timeouts(name, missing, hint)


def _advise_timeouts(name: str, missing: list[str], hint: str) -> Iterator[CheckMessage]:
    if missing:
        yield Warning(
            f"CACHES[{name!r}] has no {' and no '.join(missing)}: if its server hangs, each "
            "request hangs with it.",
            hint=hint,
            id="instance_lookup.W005",
        )


def _is_redis(backend: type) -> bool:
    # By name for the two that may not be installed.
    roots = {base.__module__.partition(".")[0] for base in backend.__mro__}
    return issubclass(backend, RedisCache) or bool(roots & {"django_redis", "django_valkey"})


def _pickles(serializer: Any) -> bool:
    if serializer is None:
        return True  # the default of each of them
    if isinstance(serializer, str):
        serializer = _class_or_none(serializer)
    kind = serializer if isinstance(serializer, type) else type(serializer)
    return issubclass(kind, RedisSerializer) or any(
        "Pickle" in base.__name__ for base in kind.__mro__
    )


def _has_option(option: str, options: Mapping[str, Any], alias: Mapping[str, Any]) -> bool:
    return (
        options.get(option) is not None
        or (options.get("connection_pool_kwargs") or {}).get(option) is not None
        or all(option in parse_qs(urlsplit(url).query) for url in _locations(alias))
    )


def _locations(alias: Mapping[str, Any]) -> list[str]:
    location = alias.get("LOCATION") or ""
    # Both backends split a string as well.
    each = location if isinstance(location, list | tuple) else re.split("[,;]", str(location))
    return [str(url) for url in each]


def _class_or_none(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return None  # Django's own checks and start-up say so


def _position(classes: list[Any], wanted: type) -> int | None:
    ours = (isinstance(found, type) and issubclass(found, wanted) for found in classes)
    return next((place for place, found in enumerate(ours) if found), None)
