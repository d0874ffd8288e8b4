"""``settings.INSTANCE_LOOKUP`` as one frozen object, read late and dropped when it changes."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from os import PathLike, fspath
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from instance_lookup import validators as is_valid

NAME = "INSTANCE_LOOKUP"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: what it is, and what to type instead."""

    setting: str
    message: str
    hint: str = ""
    unknown: bool = False


def setting(default: Any, complain: is_valid.Complain, *, secret: bool = False) -> Any:
    """Declare a setting: its default, and the function that says what is wrong with a value."""
    return dataclasses.field(default=default, repr=not secret, metadata={"complain": complain})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings, checked. Every time is in seconds."""

    config_service_backend: Any = setting(
        "instance_lookup.backends.http.HttpConfigService",
        is_valid.has("get_instance", "get_project"),
    )
    """A class (or its dotted path, or an instance) that fetches configurations."""
    config_service_url: str = setting("", is_valid.text, secret=True)  # it may hold a password
    """Base URL of the Config Service, or the file of ``FileConfigService``."""
    config_service_timeout: float = setting(5.0, is_valid.seconds)
    """Bound of one whole lookup, by the clock."""
    config_service_token: str | None = setting(
        None, is_valid.optional(is_valid.header_value), secret=True
    )
    """Sent as ``Authorization: Bearer``."""
    config_service_user_id: str | None = setting(None, is_valid.optional(is_valid.header_value))
    """``X-User-ID`` of lookups that have no user: warming, jobs."""
    config_service_max_bytes: int = setting(1_048_576, is_valid.count)
    """Longer answers are refused."""
    config_service_ca_bundle: str | None = setting(None, is_valid.optional(is_valid.existing_path))
    """CA certificates to trust instead of the bundled ones."""
    config_service_client_cert: str | tuple[str, str] | None = setting(None, is_valid.client_cert)
    """Our certificate: one PEM file, or ``(certificate, key)``."""
    config_service_proxy: str | None = setting(
        None, is_valid.optional(is_valid.proxy_url), secret=True
    )
    """URL of the HTTP proxy on the way to the Config Service.

    It includes user and password, if the proxy needs them. ``None``: no proxy. Variables such as
    ``HTTPS_PROXY`` and ``NO_PROXY`` are not read.
    """

    retry_interval: float = setting(30, is_valid.seconds)
    """How long an id is not asked for again after a failure, while a stale copy lasts."""
    breaker_failures: int = setting(5, is_valid.count)
    """Failures in a row after which the Config Service is not asked at all for a while."""
    breaker_reset: float = setting(10.0, is_valid.seconds)
    """That while; then one call tries."""
    soft_timeout: float = setting(0.5, is_valid.seconds)
    """How long whoever has a stale copy waits for a fresh one."""
    refresh_ahead: float | None = setting(0.8, is_valid.optional(is_valid.share))
    """From which share of ``cache_ttl`` on an entry is fetched anew in the background."""

    cache_alias: str = setting("default", is_valid.text)
    """Which of ``CACHES`` holds the entries."""
    cache_ttl: float = setting(300, is_valid.seconds)
    """Age up to which an entry is served without asking."""
    stale_max_age: float = setting(3600, is_valid.seconds)
    """Total age up to which an entry is served when the Config Service fails."""
    use_stale_on_error: bool = setting(True, is_valid.boolean)
    """False: no stale copy ever."""
    miss_budget: int | None = setting(60, is_valid.optional(is_valid.count))
    """How many ids that do not exist one user may have the service asked for in a minute."""
    negative_ttl: float = setting(30, is_valid.seconds)
    """How long "does not exist" and the service's "this user may not" are remembered."""
    near_cache_ttl: float = setting(5.0, is_valid.seconds)
    """How long an entry, or while the cache is down an answer, is served from memory."""
    near_cache_size: int | None = setting(None, is_valid.optional(is_valid.whole))
    """How many entries of either kind that memory holds; 0: none. ``None``: 1,024 where the cache
    is Redis or Valkey, which tell of invalidations, else none."""
    encryption_keys: tuple[str, ...] = setting((), is_valid.fernet_keys, secret=True)
    """Fernet keys for the cached values: the first encrypts, all decrypt."""
    compress_above: int | None = setting(None, is_valid.optional(is_valid.count))
    """Cached values of more characters than this are compressed."""

    identifiers: tuple[Any, ...] = setting(
        (
            "instance_lookup.identifiers.HeaderIdentifier",
            "instance_lookup.identifiers.ProjectIdentifier",
            "instance_lookup.identifiers.UserDefaultIdentifier",
        ),
        is_valid.each(is_valid.has("identify")),
    )
    """How a request names its instance, in order; the first that names one decides."""
    instance_header: str = setting("X-Instance-ID", is_valid.header_name)
    project_header: str = setting("X-Project-ID", is_valid.header_name)
    instance_id_pattern: str = setting("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", is_valid.pattern)
    """What ids of instances and projects must match in full."""
    user_context: Any = setting("instance_lookup.users.user_context", is_valid.is_callable)
    """``f(user, request=None) -> LookupUser``, sync or async."""
    admin_roles: tuple[str, ...] = setting(("admin",), is_valid.each(is_valid.text))
    """Roles that ``IsAdmin`` lets in."""
    admin_groups: tuple[str, ...] = setting((), is_valid.each(is_valid.text))
    """Django groups whose members are admins."""
    access_policy: Any = setting("instance_lookup.access.owner_or_admin", is_valid.has("allows"))
    """The policy that every answer has to pass."""
    allow_anonymous: bool = setting(False, is_valid.boolean)
    """True: ask ``ACCESS_POLICY`` about anonymous callers too, instead of refusing them."""
    conceal_denied: bool = setting(False, is_valid.boolean)
    """True: "not yours" reads like "does not exist"."""
    config_class: Any = setting("instance_lookup.types.InstanceConfig", is_valid.config_class)
    """``InstanceConfig`` or a subclass."""

    @cached_property
    def id_regex(self) -> re.Pattern[str]:
        """``instance_id_pattern``, compiled."""
        return re.compile(self.instance_id_pattern)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Once: resolvers are found by their settings, for each request.
        return hash(tuple(getattr(self, name) for name in self.names()))

    def load(self, name: str) -> Any:
        """Return the object that the setting ``name`` stands for, importing a dotted path."""
        value = getattr(self, name)
        return import_string(value) if isinstance(value, str) else value

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings, as options spell them."""
        return [field.name for field in dataclasses.fields(cls)]


def find_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with ``options`` (names in lower case). Imports, but no network."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for name, given in options.items():
        value = _freeze(given)
        if name not in fields:
            nearest = difflib.get_close_matches(str(name).lower(), fields, n=1, cutoff=0.4)
            hint = f"Did you mean {nearest[0].upper()!r}?" if nearest else ""
            yield Problem(
                str(name).swapcase(), "is not a setting of instance_lookup.", hint, unknown=True
            )
        elif complaint := fields[name].metadata["complain"](value):
            yield Problem(name.upper(), complaint)
        elif not _is_hashable(value):
            # Equal settings share one resolver, which is found by its settings.
            yield Problem(
                name.upper(), "holds something that cannot be hashed.", "Make its dataclass frozen."
            )
    ttl = options.get("cache_ttl", Settings.cache_ttl)
    stale = options.get("stale_max_age", Settings.stale_max_age)
    if not is_valid.seconds(ttl) and not is_valid.seconds(stale) and stale < ttl:
        yield Problem(
            "STALE_MAX_AGE",
            f"is {stale!r}, less than CACHE_TTL ({ttl!r}): entries would be purged while fresh.",
            "STALE_MAX_AGE is the total age; make it at least CACHE_TTL.",
        )


def make_settings(options: Mapping[str, Any]) -> Settings:
    """Return the checked settings for ``options`` (names in lower case).

    Raises ``ImproperlyConfigured`` naming every setting that is wrong.
    """
    if problems := list(find_problems(options)):
        raise ImproperlyConfigured(
            " ".join(f"{NAME}[{p.setting!r}] {p.message} {p.hint}".strip() for p in problems)
        )
    return Settings(**{name: _freeze(value) for name, value in options.items()})


def raw_options() -> dict[str, Any]:
    """Return ``settings.INSTANCE_LOOKUP`` as options, unchecked.

    The case is swapped rather than lowered, so that ``cache_ttl`` in the settings stays unknown.
    """
    raw = getattr(django_settings, NAME, {})
    if not isinstance(raw, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, not {type(raw).__name__}.")
    return {str(name).swapcase(): value for name, value in raw.items()}


@cache
def get_settings() -> Settings:
    """Return the project's settings. Raises ``ImproperlyConfigured``."""
    return make_settings(raw_options())


def with_options(options: Mapping[str, Any]) -> Settings:
    """Return the project's settings with ``options`` in place of some of them.

    Raises ``ImproperlyConfigured``.
    """
    return make_settings({**raw_options(), **options}) if options else get_settings()


def made(target: Any, settings: Settings) -> Any:
    """Return the object that a setting stands for: itself, or one made of the class it names."""
    if isinstance(target, str):
        target = import_string(target)
    if not isinstance(target, type):
        return target
    make = getattr(target, "from_settings", None)
    return make(settings) if make else target()


def on_change(callback: Callable[[], None]) -> None:
    """Call ``callback`` whenever ``INSTANCE_LOOKUP`` or ``CACHES`` is changed by a test."""

    def receiver(*, setting: str, **kwargs: object) -> None:
        if setting in (NAME, "CACHES"):
            callback()

    # No dispatch_uid of the callback's name: `clear` of two dicts would be one and the same.
    setting_changed.connect(receiver, weak=False)


def _freeze(value: Any) -> Any:
    """Return lists as tuples, and paths such as ``BASE_DIR / "ca.pem"`` as strings."""
    if isinstance(value, PathLike):
        return fspath(value)
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


on_change(get_settings.cache_clear)
