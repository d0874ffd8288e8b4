"""The user of Redis or Valkey of docs/explanation/security.md: with no right but those."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from instance_lookup import RateLimit
from instance_lookup.throttling.counter import get_counter
from tests.support.documents import PAGES
from tests.support.lookups import asks
from tests.support.near import (
    ALIAS,
    BACKENDS,
    at_hand,
    near_caches,
    near_config,
    near_resolver,
    seen,
    settled,
    wait_for_delivery,
)
from tests.support.webhook import OTHER, deliver, event, site

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras


def words(prefix: str) -> list[str]:
    """Return the command of the page that makes the user, for the tests' prefix of keys."""
    page = PAGES["security.md"].read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^    ACL SETUSER.*(?:\n {5}.*)*", page, re.MULTILINE)
    (block,) = found
    return block.replace("mysite", prefix).replace("secret", "pw").split()


@pytest.mark.parametrize("backend", BACKENDS)
def test_acl_of_the_page_is_enough_and_no_more(
    backend: str, own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With the documented rights everything works, and each documented command is used."""
    server, config = own_redis_server, near_config(backend, own_redis_server.url(db=1))
    command = words(prefix := config["KEY_PREFIX"])
    assert server.command(*command) == b"+OK"
    config["LOCATION"] = config["LOCATION"].replace("//", f"//{prefix}:pw@")
    with near_caches(instances=config):
        server.command("CONFIG", "RESETSTAT")
        here, there = near_resolver(), near_resolver()
        settled(here)
        there.resolve(asks(instance_id=None, project_id="shop"))
        for _ in range(2):
            assert seen(here, "nobody") == "InstanceNotFound"
        there.cache.expire("acme")
        assert there.cache.invalidate("acme")
        there.invalidate_project("shop")
        there.invalidate_all_caches()
        wait_for_delivery()
        assert at_hand(here) is None
        asyncio.run(here.aresolve(asks()))
        here.cache.set("acme", here.resolve(asks()).config)
        assert here.cache.tiers.shared.stored_ids() == {"acme", "nobody"}
        with site(ALIAS):
            assert deliver(event("instance.deleted")).status_code == 204
        limit = RateLimit(rpm=5)
        assert get_counter(ALIAS).count("render", "acme", limit, fail_open=False)
        used = _commands_used(server)
        assert here.get_cache_stats().errors == there.get_cache_stats().errors == 0
    assert not caplog.records
    assert server.command("ACL", "LOG") == b"*0"
    allowed = {word.removeprefix("+") for word in command if word.startswith("+")}
    assert used == allowed


def test_acl_without_incr(own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Where deliveries cannot be counted, they have their effect all the same; the log says so."""
    server, config = own_redis_server, near_config("redis", own_redis_server.url(db=1))
    prefix = config["KEY_PREFIX"]
    command = [word for word in words(prefix) if word != "+incr"]
    assert server.command(*command) == b"+OK"
    config["LOCATION"] = config["LOCATION"].replace("//", f"//{prefix}:pw@")
    with near_caches(instances=config), site(ALIAS):
        sent = event("instance.deleted")
        assert deliver(sent).status_code == deliver(sent).status_code == 204
        assert deliver(event(secret=OTHER)).status_code == 401
    told = [line for line in caplog.messages if "does not count deliveries" in line]
    assert len(told) == 1
    assert "needs INCR" in told[0]


def _commands_used(server: RedisServer) -> set[str]:
    import redis

    with redis.Redis(port=server.port) as client:
        stats = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    # Of the tests: reading these numbers, and taking part as another user.
    return stats - {"info", "config|resetstat", "acl|setuser", "acl|log", "hello", "auth"}
