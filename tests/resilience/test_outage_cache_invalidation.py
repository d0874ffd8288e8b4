"""Invalidations that a Redis does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from instance_lookup import CacheError, Source, get_resolver
from instance_lookup.vitals import CACHE_SKIPPED
from tests.lookups import TWINS, Twin, acme, asks
from tests.resilience.redis_outages import (
    Bench,
    Outage,
    any_outage,
    each_kind,
    hung,
    name_of,
    provide_bench,
    read_only,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.redis_server import RedisServer

pytestmark = [pytest.mark.extras, each_kind]


@pytest.fixture
def bench(kind: str, own_redis_server: RedisServer) -> Iterator[Bench]:
    yield from provide_bench(kind, own_redis_server)


@any_outage
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize(
    "call", [["invalidate_cache", "acme"], ["invalidate_all_caches"]], ids=["one", "all"]
)
def test_invalidation_is_honoured_here(
    outage: Outage, twin: Twin, call: list[str], bench: Bench
) -> None:
    """The cache did not take it, which is an error; this process never serves the entry again."""
    bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    found = []
    with outage(bench.server):
        with pytest.raises(CacheError):
            twin(bench.resolver, *call)
        found += [twin(bench.resolver, "resolve", asks()) for _ in range(2)]
    # Back again; what was hung or read-only still holds the old entry.
    for _ in range(3):
        bench.later.passed += CACHE_SKIPPED
        found += [twin(bench.resolver, "resolve", asks()) for _ in range(2)]
    assert {result.config.r2_bucket for result in found} == {"second"}
    assert found[-1].source is Source.CACHE


@any_outage
def test_answer_reused_is_invalidated(outage: Outage, bench: Bench) -> None:
    """An invalidation reaches what this process keeps to bridge the outage."""
    with outage(bench.server):
        assert bench.resolver.resolve(asks()).config.r2_bucket == "first"
        bench.service.instances["acme"] = acme("second")
        with pytest.raises(CacheError):
            bench.resolver.invalidate_cache("acme")
        assert bench.resolver.resolve(asks()).config.r2_bucket == "second"


@any_outage
@pytest.mark.parametrize(
    "arguments",
    [["acme"], ["--project", "shop"], ["--all", "--no-input"]],
    ids=["one", "project", "all"],
)
def test_command_leaves_with_3(
    outage: Outage, arguments: list[str], bench: Bench, settings: Settings
) -> None:
    """So that a script which revokes a key notices that it did not."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": bench.service, "CACHE_ALIAS": bench.alias}
    get_resolver().resolve(asks())
    with outage(bench.server), pytest.raises(CommandError) as caught:
        call_command("invalidate_instance_cache", *arguments)
    assert caught.value.returncode == 3


@pytest.mark.parametrize("outage", [hung, read_only], ids=name_of)
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize(
    "call", [["invalidate_project", "shop"], ["invalidate_all_caches"]], ids=["one", "all"]
)
def test_invalidation_of_projects_is_honoured_here(
    outage: Outage, twin: Twin, call: list[str], bench: Bench
) -> None:
    """A project that moved is not looked up in the mapping that Redis still holds."""
    context = asks(instance_id=None, project_id="shop")
    twin(bench.resolver, "resolve", context)
    bench.service.instances["globex"] = acme("other", instance_id="globex")
    bench.service.projects["shop"] = "globex"
    with outage(bench.server):
        with pytest.raises(CacheError):
            twin(bench.resolver, *call)
        found = [twin(bench.resolver, "resolve", context)]
    for _ in range(2):
        bench.later.passed += CACHE_SKIPPED
        found += [twin(bench.resolver, "resolve", context) for _ in range(2)]
    assert {result.config.instance_id for result in found} == {"globex"}
    assert twin(bench.make(), "resolve", context).config.instance_id == "globex"
