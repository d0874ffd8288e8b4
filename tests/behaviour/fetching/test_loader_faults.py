"""Caches that are down, and backends of a project's own that do what none should."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceConfig,
    InstanceNotFound,
    InstanceResolver,
    InvalidContext,
    Source,
)
from instance_lookup.backends.base import Document, NotModified
from tests.support.caches import REDIS_KINDS, cache_config
from tests.support.fetchers import down
from tests.support.lookups import (
    DOWN,
    SECRET,
    Clock,
    HookedCache,
    Service,
    acme,
    asks,
    hooked_caches,
    hooks,
)
from tests.support.monotonic import Monotonic
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.base import Query


class Odd(Service):
    """A service that returns the value of ``answer``."""

    answer: Any = None

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        found = super().get_instance(instance_id, query)
        answer: Document | NotModified = found if self.answer is None else self.answer
        return answer


class Picky(InstanceConfig, frozen=True, kw_only=True):
    """A project's own class, whose checks raise this and that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r2_bucket == "value":
            raise ValueError(f"bad key {self.api_keys['ideogram']}")
        if self.r2_bucket == "lookup":
            raise LookupError(self.api_keys["ideogram"])


@pytest.fixture
def service() -> Odd:
    return Odd()


@pytest.fixture
def resolver(clock: Clock, service: Odd) -> Iterator[InstanceResolver]:
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(config_service_backend=service)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "instance_lookup"]


def test_cache_down(
    resolver: InstanceResolver, service: Odd, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache that is down is no error of a lookup, and skipped for a while: the service does."""
    monotonic = Monotonic(resolver)
    with hooks(down):
        assert resolver.resolve(asks()).source is Source.SERVICE
        for _ in range(3):  # and its answer is used again
            assert resolver.resolve(asks()).source is Source.CACHE
    assert (len(service.calls), resolver.get_cache_stats().errors) == (1, 1)
    assert len(logged(caplog)) == 1
    monotonic.now += 5
    assert resolver.resolve(asks()).source is Source.SERVICE
    assert resolver.resolve(asks()).source is Source.CACHE
    assert logged(caplog)[1:] == ["The cache 'default' works again."]


def test_cache_down_and_missing(resolver: InstanceResolver, service: Odd) -> None:
    """An unknown instance is "not found" while the cache is down."""
    with hooks(down), pytest.raises(InstanceNotFound):
        resolver.resolve(asks(instance_id="nobody"))


def test_both_down(resolver: InstanceResolver, service: Odd) -> None:
    """Without cache and service the lookup fails, though there was a copy before."""
    resolver.resolve(asks())
    service.failure = DOWN
    with hooks(down), pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.retry_after == 30.0


def test_cache_lost_during_fetch(resolver: InstanceResolver, service: Odd, clock: Clock) -> None:
    """A stale copy whose cache can no longer be heard may have been invalidated: 503."""
    resolver.resolve(asks())
    clock.now += 300
    service.failure = DOWN
    service.meanwhile = lambda: setattr(HookedCache, "hook", staticmethod(down))
    try:
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks())
    finally:
        HookedCache.hook = None


def test_copy_invalidated_behind_the_soft_timeout(
    resolver: InstanceResolver, service: Odd, clock: Clock
) -> None:
    """A caller whose stale copy was invalidated during the soft timeout waits for the answer."""
    resolver.resolve(asks())
    hurried, release = InstanceResolver(config_service_backend=service, soft_timeout=0.05), Event()
    clock.now += 300

    def change() -> None:
        service.instances["acme"] = acme("second")
        resolver.invalidate_cache("acme")
        release.wait(5)

    service.meanwhile = change
    try:
        result = hurried.resolve(asks())
    finally:
        release.set()
    assert (result.config.r2_bucket, result.source) == ("second", Source.SERVICE)


@pytest.mark.usefixtures("refuses_at_once")
@pytest.mark.parametrize("known", [True, False])
def test_cache_refuses_writes(
    resolver: InstanceResolver,
    service: Odd,
    caplog: pytest.LogCaptureFixture,
    known: bool,
) -> None:
    """A cache that can be read but not written (full, or a replica) is one line, not one a miss."""
    if not known:
        service.instances.clear()

    def refuse(verb: str, key: str) -> None:
        if verb in {"set", "touch"}:
            raise OSError("READONLY You can't write against a read only replica.")

    with hooks(refuse):
        for _ in range(3):
            resolver.cache.tiers.forget("acme")  # what bridges the outage
            if known:
                assert resolver.resolve(asks()).source is Source.SERVICE
            else:
                with pytest.raises(InstanceNotFound):
                    resolver.resolve(asks())
    assert len(logged(caplog)) == 1
    resolver.cache.tiers.forget("acme")
    service.instances["acme"] = acme("first")
    resolver.resolve(asks())
    assert len(logged(caplog)) == 2


@pytest.mark.parametrize("cache_kind", REDIS_KINDS)
def test_redis_refused(cache_kind: str, service: Odd) -> None:
    """A Redis that is not there raises none of its own errors through a lookup."""
    refused = cache_config(cache_kind, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with override_settings(CACHES={"default": refused}):
        resolver = InstanceResolver(config_service_backend=service)
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert resolver.get_cache_stats().errors == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("?"), KeyError("acme"), StopIteration(), RecursionError(), TimeoutError()],
    ids=repr,
)
def test_backend_raises_anything(
    resolver: InstanceResolver,
    service: Odd,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """Any error of a backend counts as "no answer", and is logged with its traceback, once."""
    resolver.resolve(asks())
    service.failure = error
    resolver.cache.expire("acme")
    assert resolver.resolve(asks()).source is Source.STALE_CACHE
    resolver.invalidate_cache("acme")
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.details["reason"] == type(error).__name__
    assert caught.value.__cause__ is error
    records = [record for record in caplog.records if record.name == "instance_lookup"]
    assert [record.levelno for record in records] == [logging.ERROR]
    assert records[0].exc_info is not None
    assert records[0].exc_info[1] is error


@pytest.mark.parametrize(
    "answer",
    ["text", {"instance_id": "acme"}, Document("{}"), Document(b"{}", 7)],  # type: ignore[arg-type]
)
def test_backend_returns_anything(resolver: InstanceResolver, service: Odd, answer: object) -> None:
    """A backend's answer that is no document of the instance counts as a failure."""
    service.answer = answer
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_backend_not_modified_without_copy(resolver: InstanceResolver, service: Odd) -> None:
    """ "Not modified" is rejected where there is nothing that could have been."""
    service.answer = NotModified()
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.details["reason"] == "rejected"


def test_backend_odd_etag(resolver: InstanceResolver, service: Odd) -> None:
    """An ETag that no header can hold is none."""
    service.answer = Document(b'{"instance_id": "acme", "metadata": {"owner": "olga"}}', "\udc80")
    assert resolver.resolve(asks()).source is Source.SERVICE
    entry = resolver.cache.get("acme")
    assert entry is not None
    assert entry.etag is None


def test_backend_refuses_the_id(resolver: InstanceResolver, service: Odd) -> None:
    """An id that the pattern lets pass and no URL can hold is the caller's mistake."""
    service.failure = InvalidContext("Nobody can ask for that.")
    with pytest.raises(InvalidContext):
        resolver.resolve(asks())


@pytest.mark.parametrize("bucket", ["value", "lookup"])
def test_config_class_raises(service: Odd, caplog: pytest.LogCaptureFixture, bucket: str) -> None:
    """An error raised by a CONFIG_CLASS rejects the document; its message is not repeated."""
    service.instances["acme"] = acme(bucket)
    InstanceResolver(config_service_backend=service).resolve(asks())
    resolver = InstanceResolver(config_service_backend=service, config_class=Picky)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert resolver.get_cache_stats().rejected == 2
    assert SECRET not in repr((caught.value.args, caught.value.details)) + caplog.text


def test_one_bad_document_among_good_ones(
    resolver: InstanceResolver, service: Odd, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that stays invalid is one line, however many others are fine in between."""
    service.instances["bad"] = {"api_keys": []}
    for _ in range(3):
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks(instance_id="bad"))
        resolver.resolve(asks())
        resolver.invalidate_cache("acme")
    assert len(logged(caplog)) == 1
    service.instances["bad"] = acme("good", instance_id="bad")
    resolver.resolve(asks(instance_id="bad"))
    assert len(logged(caplog)) == 2


def test_service_fails_differently(
    resolver: InstanceResolver, service: Odd, caplog: pytest.LogCaptureFixture
) -> None:
    """Another reason for the failure is logged as a change."""
    monotonic = Monotonic(resolver)
    for reason in ("status", "timeout", "timeout", "status"):
        service.failure = ConfigServiceUnavailable("down", reason=reason)
        monotonic.now += 30
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks())
    assert len(logged(caplog)) == 3
