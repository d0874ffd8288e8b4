"""``settings.INSTANCE_LOOKUP`` as one frozen object, read late and dropped when it changes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string
from msgspec import Struct
from msgspec.structs import astuple

from instance_lookup.conf import validators as valid
from instance_lookup.frozen import SecretDict, hide, plain

if TYPE_CHECKING:
    from instance_lookup.conf.options import Options

NAME = "INSTANCE_LOOKUP"
_CONFIG = "instance_lookup.types.InstanceConfig"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: what it is, and what to type instead."""

    setting: str
    """Its name, as in ``INSTANCE_LOOKUP``."""
    message: str
    hint: str = ""
    unknown: bool = False
    """Whether there is no such setting."""


class Settings(Struct, frozen=True, kw_only=True, dict=True):
    """The settings, checked. Every time is in seconds."""

    config_service_backend: Annotated[Any, valid.has("get_instance", "get_project")] = (
        "instance_lookup.backends.http.HttpConfigService"
    )
    """A class (or its dotted path, or an instance) that fetches configurations."""
    config_service_url: Annotated[valid.Text, valid.SECRET] = ""  # it may hold a password
    """Base URL of the Config Service, or the file of ``FileConfigService``."""
    config_service_timeout: valid.Seconds = 5.0
    """Bound of one whole lookup, by the clock."""
    config_service_token: Annotated[valid.HeaderValue | None, valid.SECRET] = None
    """Sent as ``Authorization: Bearer``."""
    config_service_user_id: valid.HeaderValue | None = None
    """``X-User-ID`` of lookups that have no user: warming, jobs."""
    config_service_max_bytes: valid.Count = 1_048_576
    """Longer answers are refused."""
    config_service_ca_bundle: Annotated[str, valid.existing_path] | None = None
    """CA certificates to trust instead of the bundled ones."""
    config_service_client_cert: Annotated[str | tuple[str, str], valid.client_cert] | None = None
    """Our certificate: one PEM file, or ``(certificate, key)``."""
    config_service_proxy: Annotated[str, valid.SECRET, valid.proxy_url] | None = None
    """URL of the HTTP proxy on the way to the Config Service.

    It includes user and password, if the proxy needs them. ``None``: no proxy. Variables such as
    ``HTTPS_PROXY`` and ``NO_PROXY`` are not read.
    """
    config_service_stream: Annotated[str, valid.SECRET, valid.stream] | None = None
    """Path below ``config_service_url`` of the service's event stream, or a URL of its host."""

    retry_interval: valid.Seconds = 30
    """How long an id is not asked for again after a failure, while a stale copy lasts."""
    breaker_failures: valid.Count = 5
    """Ids that fail, with no answer between, after which the service is not asked for a while.

    Also the failures in a row after which one id without a copy is not.
    """
    breaker_reset: valid.Seconds = 10.0
    """How long it is not asked then; after that, one call tries."""
    soft_timeout: valid.Seconds = 0.5
    """How long a request that has a stale copy waits for a fresh one."""
    refresh_ahead: valid.Share | None = 0.8
    """From which share of ``cache_ttl`` on an entry is refreshed in the background."""

    cache_alias: valid.Text = "default"
    """Which of ``CACHES`` holds the entries."""
    cache_ttl: valid.Seconds = 300
    """Age up to which an entry is served without asking."""
    stale_max_age: valid.Seconds = 3600
    """Total age up to which an entry is served when the Config Service fails."""
    use_stale_on_error: valid.Flag = True
    """False: no stale copy ever."""
    miss_budget: valid.Count | None = 60
    """How many ids that do not exist one user may have the service asked for in a minute."""
    negative_ttl: valid.Seconds = 30
    """How long "does not exist" and the service's "this user may not" are remembered."""
    near_cache_ttl: valid.Seconds = 5.0
    """How long an entry, or while the cache is down an answer, is served from memory."""
    near_cache_size: valid.Whole | None = None
    """How many entries of either kind that memory holds; 0: none. ``None``: 1,024 where the cache
    is Redis or Valkey, which tell of invalidations, else none."""
    near_cache_bytes: valid.Count = 16_777_216
    """How many bytes of JSON either kind takes there; an entry that is longer is not kept."""
    encryption_keys: Annotated[tuple[str, ...], valid.SECRET, valid.encryption_keys] = ()
    """Keys of 32 bytes, base64, for what is cached: the first seals, all open."""
    compress_above: valid.Count | None = None
    """Cached values of more characters than this are compressed."""

    identifiers: Annotated[tuple[Any, ...], valid.each(valid.has("identify"))] = (
        "instance_lookup.identifiers.HeaderIdentifier",
        "instance_lookup.identifiers.ProjectIdentifier",
        "instance_lookup.identifiers.UserDefaultIdentifier",
    )
    """How a request names its instance, in order; the first that names one decides."""
    instance_header: valid.HeaderName = "X-Instance-ID"
    project_header: valid.HeaderName = "X-Project-ID"
    instance_id_pattern: Annotated[str, valid.pattern] = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
    """What ids of instances and projects must match in full."""
    user_context: Annotated[Any, valid.is_callable] = "instance_lookup.users.user_context"
    """``f(user, request=None) -> LookupUser``, sync or async."""
    admin_roles: valid.Names = ("admin",)
    """Roles that ``IsAdmin`` lets in."""
    admin_groups: valid.Names = ()
    """Django groups whose members are admins."""
    access_policy: Annotated[Any, valid.has("allows")] = "instance_lookup.access.owner_or_admin"
    """The policy that every answer has to pass."""
    allow_anonymous: valid.Flag = False
    """True: ask ``ACCESS_POLICY`` about anonymous callers too, instead of refusing them."""
    conceal_denied: valid.Flag = False
    """True: "not yours" reads like "does not exist"."""
    config_class: Annotated[Any, valid.frozen_subclass(_CONFIG)] = _CONFIG
    """``InstanceConfig`` or a subclass."""

    webhook_secrets: Annotated[tuple[str, ...], valid.SECRET, valid.webhook_secrets] = ()
    """Secrets of Standard Webhooks: a delivery signed with any of them counts."""
    report_status: valid.Flag = False
    """True: each process tells, in the cache, how it is doing, and which instances it has seen."""
    server_timing: valid.Flag | None = None
    """Whether responses say what their lookups took; ``None``: as ``DEBUG``."""
    throttle_fail_open: valid.Flag = True
    """Whether calls that cannot be counted are let through; False: they get 503."""

    @cached_property
    def id_regex(self) -> re.Pattern[str]:
        """``instance_id_pattern``, compiled."""
        return re.compile(self.instance_id_pattern)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Once: resolvers are found by their settings, for each request.
        return hash(astuple(self))

    def load(self, name: str) -> Any:
        """Return the object that the setting ``name`` stands for, importing a dotted path."""
        value = getattr(self, name)
        return import_string(value) if isinstance(value, str) else value

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown, here and in tracebacks drawn by rich: no secrets."""
        pairs = super().__rich_repr__()
        return [(name, value) for name, value in pairs if not valid.is_secret(_HINTS[name])]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"


_HINTS = get_type_hints(Settings, include_extras=True)
_DEFAULTS = Settings()


def find_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with ``options`` (names in lower case). Imports, but no network."""
    for name, given in options.items():
        if name not in _HINTS:
            nearest = difflib.get_close_matches(str(name).lower(), _HINTS, n=1, cutoff=0.4)
            hint = f"Did you mean {nearest[0].upper()!r}?" if nearest else ""
            shown = str(name).swapcase()
            yield Problem(shown, "is not a setting of instance_lookup.", hint, unknown=True)
        elif complaint := valid.complain(_freeze(given), _HINTS[name]):
            yield Problem(name.upper(), complaint)
    ttl = options.get("cache_ttl", _DEFAULTS.cache_ttl)
    stale = options.get("stale_max_age", _DEFAULTS.stale_max_age)
    if not any(valid.complain(each, valid.Seconds) for each in (ttl, stale)) and stale < ttl:
        yield Problem(
            "STALE_MAX_AGE",
            f"is {stale!r}, less than CACHE_TTL ({ttl!r}): entries would be purged while fresh.",
            "STALE_MAX_AGE is the total age; make it at least CACHE_TTL.",
        )
    if complaint := valid.stream_elsewhere(options):
        yield Problem("CONFIG_SERVICE_STREAM", complaint)


def build_settings(options: Mapping[str, Any]) -> Settings:
    """Return the checked settings for ``options`` (names in lower case).

    Raises ``ImproperlyConfigured`` naming every setting that is wrong.
    """
    if problems := list(find_problems(options)):
        raise ImproperlyConfigured(
            " ".join(f"{NAME}[{p.setting!r}] {p.message} {p.hint}".strip() for p in problems)
        )
    return Settings(**{name: _kept(name, value) for name, value in options.items()})


def raw_options() -> dict[str, Any]:
    """Return ``settings.INSTANCE_LOOKUP`` as options, unchecked.

    The case is swapped rather than lowered, so that ``cache_ttl`` in the settings stays unknown.
    """
    raw = getattr(django_settings, NAME, {})
    if not isinstance(raw, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, not {type(raw).__name__}.")
    return SecretDict({str(name).swapcase(): value for name, value in raw.items()})


def raw_option(name: str) -> Any:
    """Return one option, unchecked; ``None``: it is not set, or the settings are no dict."""
    with suppress(ImproperlyConfigured):  # the checks say what is wrong
        return raw_options().get(name)
    return None


@cache
def get_settings() -> Settings:
    """Return the project's settings. Raises ``ImproperlyConfigured``."""
    return build_settings(raw_options())


def apply_options(options: Options) -> Settings:
    """Return the project's settings with ``options`` in place of some of them.

    Raises ``ImproperlyConfigured``.
    """
    return build_settings(raw_options() | {**options}) if options else get_settings()


def unshown(options: Options) -> Options:
    """Return options whose values no traceback shows, for a local variable."""
    return cast("Options", SecretDict(options)) if options else options


def build(target: Any, settings: Settings) -> Any:
    """Return the object that a setting stands for.

    ``target`` is the setting's value: an object, a class, or the dotted path of either. A class is
    built by its ``from_settings(settings)``, where it has that, else without arguments.
    """
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

    # No dispatch_uid of the callback's name: `clear` of two dicts would count as one receiver.
    setting_changed.connect(receiver, weak=False)


def _kept(name: str, value: Any) -> Any:
    """Return a setting as it is kept. Keys hide themselves: they are in many hands."""
    value = _freeze(value)
    return tuple(map(hide, value)) if name in {"encryption_keys", "webhook_secrets"} else value


def _freeze(value: Any) -> Any:
    """Return lists as tuples, and paths such as ``BASE_DIR / "ca.pem"`` as strings."""
    value = fspath(value) if isinstance(value, PathLike) else plain(value)
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


on_change(get_settings.cache_clear)
