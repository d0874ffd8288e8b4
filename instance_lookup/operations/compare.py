"""Does the cache hold what the Config Service says? Which fields differ, and never their values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings
from django.utils.crypto import salted_hmac
from msgspec import Struct, structs

from instance_lookup.backends.base import NotModified, Query, describe
from instance_lookup.cache.entry import OtherSpelling, Rejected, read_document
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.pools import in_pool
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    forget_locals,
)
from instance_lookup.frozen import SecretDict
from instance_lookup.inspection import State, tell_of
from instance_lookup.outcomes import Failure, awaiting_each, check_id, once_each
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.types import InstanceConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver

logger = logging.getLogger("instance_lookup")

_OWN_FIELDS = frozenset(InstanceConfig.__struct_fields__)


class Verdict(StrEnum):
    """What a comparison came to."""

    SAME = "same"
    """Of what a lookup uses nothing differs."""
    DIFFERS = "differs"
    """Some fields differ."""
    ONLY_CACHED = "only_cached"
    """The cache has a copy; the service says that the instance does not exist."""
    ONLY_SERVICE = "only_service"
    """The service has the instance; the cache remembers that it does not exist."""
    BLOCKED = "blocked"
    """No user gets it, whatever the service says."""
    NOT_CACHED = "not_cached"
    """The cache has nothing usable: the next lookup asks the service."""


class Change(StrEnum):
    """How one field differs."""

    CHANGED = "changed"
    """Both sides have it."""
    ONLY_CACHED = "only_cached"
    """The service does not have it."""
    ONLY_SERVICE = "only_service"
    """The cached copy does not have it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the cached copy and the service differ."""

    field: str
    """Where it is: ``r2_bucket``, ``metadata.owner``, ``rate_limits.render.rpm``."""
    change: Change
    cached_fingerprint: str | None = None
    """Of an API key only, as :func:`fingerprint` makes it."""
    service_fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the cache and the Config Service say of one instance."""

    instance_id: str
    verdict: Verdict
    state: State
    """Of what the cache holds."""
    age: float | None
    """Seconds since the cached copy was fetched; ``None``: there is none."""
    note: str
    """What else there is to say of that, in words: until when it is blocked."""
    in_service: bool
    """Whether the service has the instance."""
    differences: tuple[Difference, ...] = ()
    """In the order of their names."""

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def compare(
    resolver: InstanceResolver, instance_ids: Iterable[str]
) -> Iterator[Comparison | Failure]:
    """Yield for each instance how its cached copy differs from the service, or why it is not known.

    ``resolver`` has the cache and the service. Of ``instance_ids``, each is compared once. Nothing
    is stored.
    Raises ``ImproperlyConfigured`` where there is no ``SECRET_KEY`` to make fingerprints with.
    """
    _ = settings.SECRET_KEY  # raises
    return _compare(resolver, instance_ids)


def acompare(
    resolver: InstanceResolver, instance_ids: Iterable[str]
) -> AsyncIterator[Comparison | Failure]:
    """Yield what :func:`compare` does, without blocking the event loop. Raises as that."""
    return awaiting_each(compare(resolver, instance_ids))


def compare_one(resolver: InstanceResolver, instance_id: str) -> Comparison:
    """Return how the cached copy of one instance differs from what the Config Service says.

    The service is asked in the name of the site (``CONFIG_SERVICE_USER_ID``). Its answer is not
    stored, and counts neither for statistics nor for the circuit breaker.
    Raises ``InvalidContext``, ``CacheError``, ``AccessDenied`` or ``ConfigServiceUnavailable``.
    """
    check_id(resolver, instance_id)
    # The cache first: while it is down there is nothing to compare, and no call to be made.
    found = resolver.cache.tiers.shared.peek(instance_id)
    inspection = tell_of(resolver, instance_id, found)
    said = _ask(resolver, instance_id)
    cached = found.entry.document if found.entry else None
    differences: tuple[Difference, ...] = ()
    if inspection.state is State.BLOCKED:
        verdict = Verdict.BLOCKED
    elif inspection.state in {State.ABSENT, State.UNREADABLE}:
        verdict = Verdict.NOT_CACHED
    elif cached is None:
        verdict = Verdict.SAME if said is None else Verdict.ONLY_SERVICE
    elif said is None:
        verdict = Verdict.ONLY_CACHED
    else:
        differences = tuple(_differences(cached, said))
        verdict = Verdict.DIFFERS if differences else Verdict.SAME
    return Comparison(
        instance_id=instance_id,
        verdict=verdict,
        state=inspection.state,
        age=inspection.age,
        note=inspection.note,
        in_service=said is not None,
        differences=differences,
    )


async def acompare_one(resolver: InstanceResolver, instance_id: str) -> Comparison:
    """Return what :func:`compare_one` does, without blocking the event loop. Raises as that."""
    return await in_pool(pools.refreshes, compare_one, resolver, instance_id)


def fingerprint(secret: str) -> str:
    """Return eight hexadecimal digits that tell two secrets apart, and nothing else of them.

    They are of an HMAC-SHA256 with ``SECRET_KEY``, so they mean something within this site only.
    """
    return salted_hmac(__name__, secret.encode(), algorithm="sha256").hexdigest()[:8]


def _compare(
    resolver: InstanceResolver, instance_ids: Iterable[str]
) -> Iterator[Comparison | Failure]:
    for one in once_each(instance_ids):
        try:
            yield compare_one(resolver, one)
        except Exception as exc:  # noqa: BLE001  # of one instance; the others go on
            yield Failure.of(one, exc)


def _ask(resolver: InstanceResolver, instance_id: str) -> InstanceConfig | None:
    """Return what the Config Service says now; ``None``: it does not know the instance."""
    query = Query(
        # Without the copy's tag: a service that answers 304 by mistake is found out as well.
        deadline=Deadline.after(resolver.settings.config_service_timeout),
        request_id=fresh_request_id(),
        user_id=resolver.settings.config_service_user_id,
    )
    try:
        answer = resolver.backend.get_instance(instance_id, query)
        if isinstance(answer, NotModified):
            raise Rejected("answered 'not modified', but was asked without a tag")
        return read_document(resolver.cache.tiers.kind, instance_id, answer.body).document
    except (InstanceNotFound, OtherSpelling):
        return None
    except InstanceLookupError:
        raise
    except Exception as exc:
        forget_locals(exc)  # a backend's frames hold documents
        reason, why = "rejected", str(exc)
        if not isinstance(exc, Rejected):
            reason = type(exc).__name__
            why = f"{reason} in its backend, which is a bug there"
            logger.exception("The backend of the Config Service failed for %r.", instance_id)
        raise ConfigServiceUnavailable(
            f"{describe(resolver.backend)} gave no usable answer for {instance_id!r}: {why}.",
            reason=reason,
            instance_id=instance_id,
        ) from exc


def _differences(cached: InstanceConfig, said: InstanceConfig) -> Iterator[Difference]:
    one, other = _fields(cached), _fields(said)
    for name in sorted(one.keys() | other.keys()):
        if name in one and name in other:
            if one[name] == other[name]:
                continue
            change = Change.CHANGED
        else:
            change = Change.ONLY_CACHED if name in one else Change.ONLY_SERVICE
        yield Difference(name, change, _fingerprint(name, one), _fingerprint(name, other))


def _fingerprint(name: str, fields: SecretDict) -> str | None:
    is_key = name.startswith("api_keys.") and isinstance(fields.get(name), str)
    return fingerprint(fields[name]) if is_key else None


def _fields(config: InstanceConfig) -> SecretDict:
    """Return each value by where it is. What is ``None`` is not there.

    A field that a project's own class adds is one value: the names in it may be secrets, too.
    """
    found: dict[str, Any] = {}

    def add(name: str, value: Any, *, inner: bool) -> None:
        if inner and isinstance(value, Struct):
            value = structs.asdict(value)
        if inner and isinstance(value, Mapping):
            for key, each in value.items():
                add(f"{name}.{key}", each, inner=True)
        elif value is not None:
            found[name] = value

    for name in config.__struct_fields__:
        add(name, getattr(config, name), inner=name in _OWN_FIELDS)
    return SecretDict(found)
