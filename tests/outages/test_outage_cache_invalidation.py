"""Invalidations that a Redis does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from instance_lookup import CacheError, get_resolver
from instance_lookup.cache.health import CACHE_SKIPPED
from tests.outages.redis_outages import (
    Bench,
    Outage,
    any_outage,
    each_kind,
    provide_bench,
)
from tests.support.lookups import TWINS, Twin, acme, asks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.extras, each_kind]


@pytest.fixture
def bench(kind: str, own_redis_server: RedisServer) -> Iterator[Bench]:
    yield from provide_bench(kind, own_redis_server)


@any_outage
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize(
    "call", [["invalidate_cache", "acme"], ["invalidate_all_caches"]], ids=["one", "all"]
)
def test_invalidation_is_repeated(
    outage: Outage, twin: Twin, call: list[str], bench: Bench
) -> None:
    """An invalidation that the cache did not take raises; repeated later, it is effective."""
    bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    with outage(bench.server), pytest.raises(CacheError):
        twin(bench.resolver, *call)
    bench.later.passed += CACHE_SKIPPED
    twin(bench.resolver, *call)
    assert twin(bench.resolver, "resolve", asks()).config.r2_bucket == "second"
    assert twin(bench.make(), "resolve", asks()).config.r2_bucket == "second"


@any_outage
def test_answer_reused_is_invalidated(outage: Outage, bench: Bench) -> None:
    """An invalidation drops the answer that this process keeps during the outage."""
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
    """The command leaves with 3, so that a script notices a failed revocation."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": bench.service, "CACHE_ALIAS": bench.alias}
    get_resolver().resolve(asks())
    with outage(bench.server), pytest.raises(CommandError) as caught:
        call_command("invalidate_instance_cache", *arguments)
    assert caught.value.returncode == 3
