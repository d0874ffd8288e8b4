"""The settings: their names, types, bounds, defaults and meanings.

The page docs/reference/settings.md is made of this module: the text below a setting is what readers
of the page see. After a change run ``python -m tests.reference``.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, get_type_hints

from django.utils.module_loading import import_string
from msgspec import Meta, Struct
from msgspec.structs import astuple

from instance_lookup.conf import validators as valid

_CONFIG = "instance_lookup.types.InstanceConfig"


def _is(what: str) -> Meta:
    """Say in words what a value is, where a function checks it and not its type."""
    return Meta(description=what)


class Settings(Struct, frozen=True, kw_only=True, dict=True):
    """The settings, checked. Every time is in seconds."""

    config_service_backend: Annotated[
        Any,
        valid.has("get_instance", "get_project"),
        _is("a class, its dotted path, or an object"),
    ] = "instance_lookup.backends.http.HttpConfigService"
    """Where configurations come from.

    A class is built once for each process. docs/how-to/extending.md#where-configurations-come-from
    says how to write one.
    """
    config_service_url: Annotated[valid.Text, valid.SECRET] = ""  # it may hold a password
    """Base URL of the Config Service.

    The path of the file for ``FileConfigService``. Other backends need none.
    """
    config_service_timeout: valid.Seconds = 5.0
    """How long one lookup may take in all, by the clock.

    The time covers the name, the connection, TLS, the headers and the body. It is not a time
    limit for each read: a service that sends one byte a second is cut off as well.
    """
    config_service_token: Annotated[valid.HeaderValue | None, valid.SECRET] = None
    """The credential for the Config Service, sent as ``Authorization: Bearer``."""
    config_service_user_id: valid.HeaderValue | None = None
    """The value of ``X-User-ID`` for lookups that have no user, such as warming and jobs."""
    config_service_max_bytes: valid.Count = 1_048_576
    """How many bytes an answer may have. Longer answers are refused."""
    config_service_ca_bundle: (
        Annotated[str, valid.existing_path, _is("the path of a file")] | None
    ) = None
    """File of the CA certificates to trust. ``None``: those of the package certifi."""
    config_service_client_cert: (
        Annotated[
            str | tuple[str, str],
            valid.client_cert,
            _is("the path of a PEM file, or a pair (certificate, key) of paths"),
        ]
        | None
    ) = None
    """The certificate that the site shows to the Config Service."""
    config_service_proxy: (
        Annotated[str, valid.SECRET, valid.proxy_url, _is("an http URL")] | None
    ) = None
    """URL of an HTTP proxy on the way to the Config Service.

    It includes user and password, if the proxy needs them:
    ``http://user:password@proxy.internal:3128``. Variables such as ``HTTPS_PROXY`` and ``NO_PROXY``
    are not read: docs/explanation/security.md#a-proxy-on-the-way says why.
    """
    config_service_stream: (
        Annotated[
            str,
            valid.SECRET,
            valid.stream,
            _is("a path such as '/stream', or a URL of the same host"),
        ]
        | None
    ) = None
    """Where the Config Service has its event stream, below ``CONFIG_SERVICE_URL``.

    One process listens for all that share the cache. ``None``: nothing listens.
    docs/reference/config-service.md#the-stream has what the service sends.
    """

    retry_interval: valid.Seconds = 30
    """How long the site waits before it asks again for an id that failed and has a stale copy."""
    breaker_failures: valid.Count = 5
    """How many failures stop the calls to the Config Service.

    After this many failures of different ids, with no answer between them, the site does not call
    the service at all for as long as ``BREAKER_RESET`` says. If one id without a copy fails this
    many times in a row, only that id is not asked for.
    """
    breaker_reset: valid.Seconds = 10.0
    """How long the Config Service is not called after ``BREAKER_FAILURES`` failures.

    Then one call tries.
    """
    soft_timeout: valid.Seconds = 0.5
    """How long a request that has a stale copy waits for a fresh one.

    If the copy was expired, it waits up to ``CONFIG_SERVICE_TIMEOUT``.
    """
    refresh_ahead: valid.Share | None = 0.8
    """The age from which an entry is fetched again in the background, as a share of ``CACHE_TTL``.

    0.8 is 80 percent of it. ``None``: never.
    """

    cache_alias: valid.Text = "default"
    """Which of ``CACHES`` holds the entries."""
    cache_ttl: valid.Seconds = 300
    """The age up to which an entry is served without asking the Config Service."""
    stale_max_age: valid.Seconds = 3600
    """The age up to which an entry may be served when the Config Service fails.

    It is the total age, since the service was asked. It must not be less than ``CACHE_TTL``.
    """
    use_stale_on_error: valid.Flag = True
    """Whether stale copies are served when the Config Service fails.

    ``False``: no stale copy, ever.
    """
    miss_budget: valid.Count | None = 60
    """How many ids that do not exist one user may ask for in a minute.

    After that, the user gets 429 for ids that are not cached. ``None``: any number.
    """
    negative_ttl: valid.Seconds = 30
    """How long a refusal of the Config Service is remembered.

    That is "does not exist", and its 403 to one user.
    """
    near_cache_ttl: valid.Seconds = 5.0
    """How long a process serves an entry from its own memory.

    While the cache is down: how long it serves an answer of the Config Service from there.
    """
    near_cache_size: valid.Whole | None = None
    """How many instances, and how many projects, a process keeps in its memory.

    ``0``: none. ``None``: 1,024 where the cache is Redis or Valkey, which tell of invalidations;
    else none.
    """
    near_cache_bytes: valid.Count = 16_777_216
    """How many bytes of JSON that memory holds, of instances and of projects each.

    When it is full, the entry that was not used for the longest time is removed. An entry that is
    larger than the limit is not kept. The same limit holds for the answers that are kept while the
    cache is down.
    """
    encryption_keys: Annotated[
        tuple[str, ...],
        valid.SECRET,
        valid.encryption_keys,
        _is("a list of keys made by 'manage.py generate_instance_key'"),
    ] = ()
    """Keys that seal (encrypt) what is cached.

    New entries are sealed with the first key. All keys can open them.
    docs/explanation/security.md#sealing says how to change a key.
    """
    compress_above: valid.Count | None = None
    """Cached values of more characters than this are compressed. ``None``: none is."""

    identifiers: Annotated[
        tuple[Any, ...],
        valid.each(valid.has("identify")),
        _is("a list of classes, their dotted paths, or objects"),
    ] = (
        "instance_lookup.identifiers.HeaderIdentifier",
        "instance_lookup.identifiers.ProjectIdentifier",
        "instance_lookup.identifiers.UserDefaultIdentifier",
    )
    """How a request names its instance, in this order. The first that names one decides.

    docs/how-to/extending.md#identifiers has the others that come with the package, and shows how to
    write one.
    """
    instance_header: valid.HeaderName = "X-Instance-ID"
    """The header in which a request names its instance."""
    project_header: valid.HeaderName = "X-Project-ID"
    """The header in which a request names its project."""
    instance_id_pattern: Annotated[str, valid.pattern, _is("a regular expression")] = (
        "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
    )
    """What ids of instances and projects must match, from the first character to the last."""
    user_context: Annotated[
        Any, valid.is_callable, _is("a function, sync or async, or its dotted path")
    ] = "instance_lookup.users.user_context"
    """Who a user is: ``f(user, request=None)`` returns a ``LookupUser``.

    docs/how-to/extending.md#users says what the default reads, and how to write one.
    """
    admin_roles: valid.Names = ("admin",)
    """Roles that make a user an admin, for the policy ``IsAdmin``."""
    admin_groups: valid.Names = ()
    """Names of Django groups whose members are admins."""
    access_policy: Annotated[
        Any, valid.has("allows"), _is("a class, its dotted path, or an object")
    ] = "instance_lookup.access.owner_or_admin"
    """The rule that every answer has to pass, cached or not.

    docs/how-to/extending.md#policies shows how to combine and write policies.
    """
    allow_anonymous: valid.Flag = False
    """Whether anonymous callers may get an instance.

    ``True``: ``ACCESS_POLICY`` is asked about them too. ``False``: they are refused at once.
    """
    conceal_denied: valid.Flag = False
    """Whether "not yours" is answered like "does not exist".

    ``True``: both get the same 404, and cost the same: docs/explanation/security.md#access.
    """
    config_class: Annotated[
        Any, valid.frozen_subclass(_CONFIG), _is("a frozen class, or its dotted path")
    ] = _CONFIG
    """``InstanceConfig``, or a subclass of it with fields of your own.

    docs/how-to/extending.md#a-configuration-of-your-own shows one.
    """

    webhook_secrets: Annotated[
        tuple[str, ...],
        valid.SECRET,
        valid.webhook_secrets,
        _is("a list of secrets of Standard Webhooks, 'whsec_…'"),
    ] = ()
    """Secrets that the Config Service signs its deliveries with.

    A delivery may be signed with any of them. Without one the webhook takes no delivery.
    docs/reference/config-service.md#the-webhook has what the service sends.
    """
    report_status: valid.Flag = False
    """Whether each process writes into the cache how it is doing.

    ``True``: it also writes which instances it has seen. docs/operations/status.md#reports says
    what that is for.
    """
    server_timing: valid.Flag | None = None
    """Whether responses say in ``Server-Timing`` how long their lookups took, and their source.

    ``None``: as ``DEBUG``.
    """
    throttle_fail_open: valid.Flag = True
    """Whether calls that cannot be counted for a rate limit are let through.

    ``False``: they get 503. docs/how-to/throttling.md#when-the-cache-is-down says when that is.
    """

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
        return [(name, value) for name, value in pairs if not valid.is_secret(HINTS[name])]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"


HINTS = get_type_hints(Settings, include_extras=True)
"""The type of each setting, with what annotates it."""
