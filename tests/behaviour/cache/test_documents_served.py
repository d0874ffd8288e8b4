"""Configurations as real services write them, from every source and through every cache."""

from __future__ import annotations

import json
import logging
from codecs import BOM_UTF8
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceCache,
    InstanceConfig,
    InstanceMetadata,
    InstanceResolver,
    LookupUser,
    Source,
)
from instance_lookup.backends.file import FileConfigService
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.testing import FakeConfigService
from tests.behaviour.http.queries import query
from tests.support.lookups import OLGA, SECRET, Clock, Twin, asks
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "as-it-came"
LENIENT: dict[str, Any] = {
    "instance_id": "acme",
    "api_keys": {"ideogram": SECRET, "none": None},
    "rate_limits": {"render": {"rpm": 60.0}},
    "worker_urls": None,
    "r2_bucket": BUCKET,
    "metadata": {"owner": 7, "tenant_id": None, "created_at": "2026-01-31T09:30:00"},
    "features": {"beta": True, "bad": SECRET},
}
OWNER = LookupUser("7")


@pytest.fixture(params=["http", "file", "dict"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    if request.param == "http":
        with FakeConfigService({"acme": LENIENT}) as service:
            yield HttpConfigService(url=service.url)
    elif request.param == "file":
        path = tmp_path / "instances.json"
        path.write_text(json.dumps({"instances": [LENIENT], "projects": None}))
        yield FileConfigService(path)
    else:
        yield DictConfigService({"acme": LENIENT})


@pytest.fixture
def service() -> Iterator[FakeConfigService]:
    with FakeConfigService({"acme": LENIENT}, {"shop": "acme"}) as fake:
        yield fake


def resolver_of(service: FakeConfigService, **options: Any) -> InstanceResolver:
    return InstanceResolver(config_service_backend=HttpConfigService(url=service.url), **options)


def assert_read(config: InstanceConfig) -> None:
    """Check every field that the service wrote in a way of its own."""
    assert config.api_keys == {"ideogram": SECRET}
    assert config.rate_limits["render"].rpm == 60
    assert config.worker_urls == {}
    assert config.r2_bucket == BUCKET
    assert config.metadata.owner == "7"
    assert config.metadata.created_at == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert config.metadata.created_at < timezone.now()
    assert config.features == {"beta": True}


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# --- served ------------------------------------------------------------------------------------


def test_document_is_served_from_every_backend(backend: object, call: Twin) -> None:
    """The same rules hold for each backend, and for the copy in the cache."""
    resolver = InstanceResolver(config_service_backend=backend)
    for source in (Source.SERVICE, Source.CACHE):
        result = call(resolver, "resolve", asks(OWNER))
        assert result.source is source
        assert_read(result.config)


@pytest.mark.parametrize("near_cache_size", [0, 10])
def test_document_is_served_from_every_cache(
    service: FakeConfigService,
    cache_alias: str,
    call: Twin,
    near_cache_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A document is served fresh and stale, also by another process that decodes it itself."""
    clock = Clock(monkeypatch)
    options: dict[str, Any] = {"cache_alias": cache_alias, "near_cache_size": near_cache_size}
    resolver_of(service, **options).resolve(asks(OWNER))
    service.fail(500)
    for later, source in ((0, Source.CACHE), (1, Source.CACHE), (400, Source.STALE_CACHE)):
        clock.now += later
        result = call(resolver_of(service, **options), "resolve", asks(OWNER))
        assert result.source is source
        assert_read(result.config)


def test_not_modified_document_is_served(
    service: FakeConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 304 the copy is stored again as the service wrote it."""
    clock = Clock(monkeypatch)
    resolver = resolver_of(service, refresh_ahead=None)
    resolver.resolve(asks(OWNER))
    clock.now += 301
    result = resolver.resolve(asks(OWNER))
    assert [request.headers["If-None-Match"] is None for request in service.requests] == [
        True,
        False,
    ]
    assert result.source is Source.SERVICE
    assert_read(result.config)
    assert_read(resolver_of(service).resolve(asks(OWNER)).config)


@pytest.mark.parametrize("owner", [True, 7.5, "7.0", [7]])
def test_numeric_owner_is_one_number_only(owner: object) -> None:
    """An owner that is not a number, or is another number, lets no user in."""
    document = {**LENIENT, "metadata": {"owner": owner}}
    resolver = InstanceResolver(config_service_backend=DictConfigService({"acme": document}))
    for user in (OWNER, LookupUser("1"), LookupUser("True")):
        with pytest.raises((AccessDenied, ConfigServiceUnavailable)):
            resolver.resolve(asks(user))


@pytest.mark.parametrize("wrong", [None, 60, {"rpm": None}, {"rpm": "60"}, {"rpm": 60.5}])
def test_bad_limit_is_never_no_limit(wrong: object, call: Twin) -> None:
    """A malformed limit is an error, since a missing limit would mean no limit."""
    document = {**LENIENT, "rate_limits": {"render": wrong}}
    resolver = InstanceResolver(config_service_backend=DictConfigService({"acme": document}))
    with pytest.raises(ConfigServiceUnavailable) as caught:
        call(resolver, "resolve", asks(OWNER))
    assert caught.value.details["reason"] == "rejected"


@pytest.mark.parametrize("ids", [{"project_id": 1}, {"instance_id": 1}, {"instance_id": None}])
def test_project_document_stays_strict(service: FakeConfigService, ids: dict[str, Any]) -> None:
    """A project's document is not forgiven: its instance id must be a string."""
    document = {"project_id": "shop", "instance_id": "acme", **ids}
    service.answer(Answer(200, json.dumps(document).encode()))
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver_of(service).resolve(asks(OWNER, None, project_id="shop"))
    assert caught.value.details["reason"] == "rejected"


def test_name_twice_is_refused(service: FakeConfigService) -> None:
    """A document with two owners is refused: it is not known which one is meant."""
    twice = b'{"instance_id": "acme", "metadata": {"owner": "7", "owner": "olga"}}'
    service.answer(Answer(200, twice))
    for user in (OWNER, OLGA):
        with pytest.raises(ConfigServiceUnavailable):
            resolver_of(service).resolve(asks(user))


def test_config_set_by_hand_has_dates_with_an_offset(cache_alias: str) -> None:
    """A date without an offset that a script stores is read as UTC, like one of the service."""
    naive = datetime(2026, 1, 31, 9, 30)  # noqa: DTZ001  # the very case
    cache = InstanceCache(cache_alias)
    metadata = InstanceMetadata(created_at=naive)
    cache.set("acme", InstanceConfig(instance_id="acme", metadata=metadata))
    entry = cache.get("acme")
    assert entry is not None
    assert entry.config.metadata.created_at == naive.replace(tzinfo=UTC)


# --- a byte order mark -------------------------------------------------------------------------


def test_byte_order_mark_is_dropped(service: FakeConfigService, call: Twin) -> None:
    """A byte order mark before the body is dropped; in a stored entry it would break the JSON."""
    service.answer(Answer(200, BOM_UTF8 + json.dumps(LENIENT).encode()))
    resolver = resolver_of(service)
    for source in (Source.SERVICE, Source.CACHE):
        result = call(resolver, "resolve", asks(OWNER))
        assert result.source is source
        assert_read(result.config)


def test_byte_order_mark_of_project_is_dropped(service: FakeConfigService) -> None:
    """A byte order mark before a project's document is dropped as well."""
    project = b'{"project_id": "shop", "instance_id": "acme"}'
    service.sequence(Answer(200, BOM_UTF8 + project))
    resolver = resolver_of(service)
    for _ in range(2):
        assert_read(resolver.resolve(asks(OWNER, None, project_id="shop")).config)


def test_byte_order_mark_of_list_is_dropped(service: FakeConfigService) -> None:
    """A byte order mark before the list of instances is dropped as well."""
    service.answer(Answer(200, BOM_UTF8 + b'{"instances": ["acme"]}'))
    page = HttpConfigService(url=service.url).list_instances(query())
    assert page.instance_ids == ("acme",)


@pytest.mark.parametrize("body", [BOM_UTF8 * 2 + b"{}", json.dumps(LENIENT).encode("utf-16")])
def test_other_byte_order_marks_are_refused(service: FakeConfigService, body: bytes) -> None:
    """One mark of UTF-8 is tolerated, no other encoding."""
    service.answer(Answer(200, body))
    with pytest.raises(ConfigServiceUnavailable):
        resolver_of(service).resolve(asks(OWNER))


# --- counted and logged ------------------------------------------------------------------------


def test_left_out_is_counted_when_it_is_accepted(service: FakeConfigService, call: Twin) -> None:
    """A left-out part is counted once for each answer, not at each read of the cache."""
    first, second = resolver_of(service), resolver_of(service)
    for resolver in (first, first, second):
        call(resolver, "resolve", asks(OWNER))
    assert first.get_cache_stats().rejected == 1
    assert second.get_cache_stats().rejected == 0


def test_each_left_out_part_is_counted() -> None:
    """Each left-out part is counted; a null or a value read another way is not."""
    document = {
        **LENIENT,
        "features": {"a": 1, "b": None, "c": "x"},
        "worker_urls": {"d": "ftp://d"},
        "metadata": {"owner": 7, "name": 5, "created_at": "", "updated_at": "2026-01-31"},
    }
    resolver = InstanceResolver(config_service_backend=DictConfigService({"acme": document}))
    resolver.resolve(asks(OWNER))
    assert resolver.get_cache_stats().rejected == 5


def test_left_out_is_logged_once_by_name(
    service: FakeConfigService, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left out is logged once, when it changes, and without a value."""
    resolver = resolver_of(service)
    for _ in range(3):
        resolver.cache.invalidate("acme")
        resolver.resolve(asks(OWNER))
    assert len(service.requests) == 3
    assert lines(caplog) == [
        "The Config Service sent values of a wrong kind for instance 'acme'. It is used without "
        "them: features['bad']. Correct them in the Config Service; "
        "docs/reference/config-service.md says what each may be."
    ]
    assert SECRET not in caplog.text


def test_left_out_is_logged_again_when_it_changes(
    service: FakeConfigService, caplog: pytest.LogCaptureFixture
) -> None:
    """A change of what is left out is logged: another part, or the same one after a repair."""
    resolver = resolver_of(service)
    for features in ({"a": 1}, {"a": 2, "b": 3}, {"b": 3, "a": 2}, {}, {"a": 1}):
        service.instances["acme"] = {**LENIENT, "features": features}
        resolver.cache.invalidate("acme")
        resolver.resolve(asks(OWNER))
    named = [line.partition("them: ")[2].partition(". ")[0] for line in lines(caplog)]
    assert named == ["features['a']", "features['a'], features['b']", "features['a']"]


def test_left_out_decoration_is_no_warning(
    service: FakeConfigService, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that writes no dates would fill the log with them."""
    caplog.set_level(logging.INFO, "instance_lookup")
    metadata = {"owner": 7, "name": 5, "created_at": ""}
    service.instances["acme"] = {**LENIENT, "features": {}, "metadata": metadata}
    resolver_of(service).resolve(asks(OWNER))
    assert lines(caplog) == []
    (line,) = lines(caplog, logging.INFO)
    assert "without them: metadata.name, metadata.created_at." in line


def test_left_out_names_cannot_fill_the_log(
    service: FakeConfigService, caplog: pytest.LogCaptureFixture
) -> None:
    """Names are the service's: they are quoted, cut, and not all of them shown."""
    wrong = {f"{number}\nERROR {'x' * 500}": 1 for number in range(100)}
    service.instances["acme"] = {**LENIENT, "features": wrong}
    resolver_of(service).resolve(asks(OWNER))
    (line,) = lines(caplog)
    assert "\n" not in line
    assert len(line) < 1500
    assert "features['0\\nERROR xxx" in line
    assert " and 90 more. " in line
