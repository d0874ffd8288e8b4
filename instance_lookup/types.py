"""The values that travel: what a configuration is, and what a lookup answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from typing import Annotated, Any, Never, Self

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from instance_lookup.bearer import Bearer
from instance_lookup.frozen import (
    MASK,
    NOTHING_TO_FREEZE,
    FrozenDict,
    SecretDict,
    UrlDict,
    freeze,
    hide,
)

Rate = Annotated[int, Meta(ge=0, le=100_000_000)]
"""More a minute no server counts. It also keeps what is counted below 2**53, where the floating
point numbers of a script in Redis are exact."""
Daily = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
Moment = Annotated[datetime, Meta(tz=True)]

HTTP_URL = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"([^\s\x00-\x1f\x7f\\/?#@\[\]]*@)?"  # user and password
    r"([^\s\x00-\x1f\x7f\\/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?"  # host and port
    r"([/?#][^\s\x00-\x1f\x7f]*)?$(?!\n)"
)
"""What the URL of a worker has to match; the same pattern stands in config-service.openapi.yaml."""
_matches_http_url = re.compile(HTTP_URL).match


@lru_cache(1024)  # they are the same at each decoding, and matching is half the cost of that
def is_http_url(text: str) -> bool:
    """Tell whether this is an http(s) URL with a host."""
    return _matches_http_url(text) is not None


class Shown(Struct, frozen=True):
    """Shows its own fields. What a project's subclass adds is masked: it may be a secret."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return fields_shown(self)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in fields_shown(self))
        return f"{type(self).__name__}({shown})"


def fields_shown(one: Shown) -> list[tuple[str, Any]]:
    """Return the fields by name, as they may be shown."""
    known = _known_fields(type(one))
    values = ((name, getattr(one, name)) for name in one.__struct_fields__)
    return [(name, value if name in known and _is_ours(value) else MASK) for name, value in values]


def _is_ours(value: object) -> bool:
    """Tell a value of a field of ours from one for which a project has put another class there."""
    return isinstance(value, Shown) or not isinstance(value, Struct)


@cache
def _known_fields(shown: type[Shown]) -> frozenset[str]:
    """Return the fields that the class has from this module."""
    ours: Any = next(each for each in shown.__mro__ if each.__module__ == __name__)
    return frozenset(ours.__struct_fields__)


class RateLimit(Shown, frozen=True):
    """How often something may be called. Zero: never."""

    rpm: Rate
    """Calls a minute that may go on for ever."""
    rpm_burst: Rate | None = None
    """Calls that are let through at once after a quiet time, the size of the bucket that ``rpm``
    fills; ``None``: as many as ``rpm``."""
    daily: Daily | None = None
    """Calls a day, of UTC; ``None``: any number."""


class InstanceMetadata(Shown, frozen=True, kw_only=True):
    """Who an instance belongs to, and what people call it."""

    name: str | None = None
    """For people."""
    description: str | None = None
    """For people."""
    owner: str | None = None
    """The ``user_id`` of the owner. Absent or blank: only admins get in."""
    tenant_id: str | None = None
    """Compared with the ``tenant_ids`` of a user."""
    created_at: Moment | None = None
    """When the Config Service made the instance, with its time zone."""
    updated_at: Moment | None = None
    """When the Config Service last changed it, with its time zone."""


NOTHING_TO_FREEZE.update((RateLimit, InstanceMetadata))


class InstanceConfig(Shown, frozen=True, kw_only=True):
    """The configuration of one instance, deeply immutable.

    Unknown fields of the Config Service's answer are ignored. A project that needs them
    subclasses this, adds annotated fields with defaults, and names the class in ``CONFIG_CLASS``.
    A subclass with a ``__post_init__`` of its own calls this one: it is what hides and freezes,
    and raises ``ValueError`` for a worker URL that is not http(s) with a host.
    """

    instance_id: str
    """The id, spelled as the Config Service spells it."""
    api_keys: Mapping[str, str] = FrozenDict()
    """Plain strings by service name; never shown by ``repr``, ``pprint`` or a traceback."""
    rate_limits: Mapping[str, RateLimit] = FrozenDict()
    """By service name."""
    worker_urls: Mapping[str, str] = FrozenDict()
    """http(s) URLs with a host, by service name: plain strings; user, password and query are shown
    by none of the above."""
    r2_bucket: str = ""
    """The name of the bucket; blank: there is none."""
    metadata: InstanceMetadata = InstanceMetadata()
    """Owner, tenant and names."""
    features: Mapping[str, bool] = FrozenDict()
    """Whether a feature is on, by its name."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if hiding := _HIDING.get(field):
                force_setattr(self, field, hiding(value))
            elif (frozen := freeze(value)) is not value:
                force_setattr(self, field, frozen)
        if not all(map(is_http_url, dict.values(self.worker_urls))):  # type: ignore[arg-type]
            wrong = [name for name, url in self.worker_urls.items() if not is_http_url(url)]
            raise ValueError(f"worker_urls: no http(s) URL with a host for {wrong}")

    def has_feature(self, name: str, *, default: bool = False) -> bool:
        """Tell whether the feature flag ``name`` is on; ``default`` where it is not set."""
        return self.features.get(name, default)

    def bearer(self, name: str) -> Bearer:
        """Return what sends the API key ``name``, for ``auth=`` of ``requests`` and ``httpx``.

        So no local variable of a view holds the key. Raises ``KeyError`` where there is no such
        key, and ``ValueError`` where a header cannot carry it.
        """
        return Bearer(f"API key {name!r} of {self.instance_id!r}", hide(self.api_keys[name]))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> Never:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: the pickle would leak its API keys"
        )


_HIDING = {"api_keys": SecretDict, "worker_urls": UrlDict}


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    """A fresh copy: of this process, or of the cache."""
    SERVICE = "service"
    """The Config Service, for this lookup or for one at the same moment."""
    STALE_CACHE = "stale_cache"
    """A stale copy, since the Config Service failed or was slow."""


class CacheEntry(Struct, frozen=True, kw_only=True):
    """One cached configuration, as of the moment it was read."""

    config: InstanceConfig
    """What is cached."""
    cached_at: float
    """Unix time at which the Config Service was asked."""
    ttl: float
    """Seconds for which the entry is fresh, counted from ``cached_at``."""
    generation: str
    """The generation it was stored under; see :meth:`InstanceCache.generation`."""
    etag: str | None
    """The Config Service's name for this version; ``None``: it gave none."""
    source: Source
    """``CACHE`` when fresh, ``STALE_CACHE`` when not."""
    ttl_remaining: float
    """Seconds it stays fresh, 0 when stale."""


class Grant(Struct, frozen=True):
    """Proof that a user may have this very config. Only ``authorize`` makes one."""

    config: InstanceConfig


class LookupResult(Struct, frozen=True):
    """What a lookup answers. It takes a :class:`Grant`, so none is made past ``authorize``."""

    config: InstanceConfig
    """The configuration that the user may have."""
    source: Source
    """Where the config came from."""
    cached_at: float
    """Unix time at which the Config Service was asked for this config."""
    ttl_remaining: float
    """Seconds it stays fresh, 0 when stale."""
    grant: Grant
    """Proof that the user may have this config."""

    def __post_init__(self) -> None:
        if self.grant.config is not self.config:
            raise TypeError("a LookupResult needs the Grant that authorize() gave for its config")

    def __repr__(self) -> str:
        return (
            f"LookupResult(instance_id={self.config.instance_id!r}, source={self.source.value!r}, "
            f"cached_at={self.cached_at!r}, ttl_remaining={self.ttl_remaining!r})"
        )


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache did in this process since it started or ``reset_stats`` was called."""

    hits: int = 0
    """Answers from a fresh entry."""
    misses: int = 0
    """Reads that found nothing usable."""
    stale_hits: int = 0
    """Answers from a stale entry, because the Config Service failed."""
    evictions: int = 0
    """Calls of ``invalidate`` that reached an entry."""
    negative_hits: int = 0
    """"Does not exist" answered from memory of an earlier answer."""
    rejected: int = 0
    """Entries and answers refused: corrupt, foreign, of another id or an unknown format. And what
    was left out of an answer that was not: a feature flag, a worker URL, a date. With
    ``ENCRYPTION_KEYS`` also generations and entries that someone has put back."""
    errors: int = 0
    """Calls that the cache backend failed."""
    unpublished: int = 0
    """Invalidations that are written, and that other processes could not be told of: what they have
    in memory they may serve for ``NEAR_CACHE_TTL`` more."""
    near_hits: int = 0
    """Those of the ``hits`` that this process answered from memory at once."""
