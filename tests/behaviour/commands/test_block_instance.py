"""``invalidate_instance_cache --block`` and ``--unblock``; what other commands say of a block."""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import AccessDenied, LookupContext, LookupUser, get_resolver
from instance_lookup.invalidation import block, parse_duration
from tests.behaviour.commands.support import SECRET, TOKEN, run, store
from tests.behaviour.commands.test_invalidate_instance_cache import BROKEN, INVALIDATE
from tests.support.caches import use_cache
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService, Site
    from tests.support.redis_server import RedisServer

UNTIL = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def is_blocked(instance_id: str) -> bool:
    context = LookupContext(LookupUser("root", roles=("admin",)), instance_id=instance_id)
    try:
        get_resolver().resolve(context)
    except AccessDenied:
        return True
    return False


def test_block_and_unblock(service: ConfigService) -> None:
    """Several instances are blocked and unblocked; the others are not touched."""
    store("acme")
    done = run(INVALIDATE, "acme", "globex", "--block", "24h")
    assert done.code == 0
    assert re.fullmatch(
        f"Blocked instance acme until {UNTIL}.\nBlocked instance globex until {UNTIL}.\n", done.out
    )
    assert [is_blocked(one) for one in service.ids] == [True, True, False]
    done = run(INVALIDATE, "acme", "initech", "--unblock")
    assert (done.code, done.out) == (
        0,
        "Unblocked instance acme.\nUnblocked instance initech (was not blocked).\n",
    )
    assert [is_blocked(one) for one in service.ids] == [False, True, False]


def test_block_in_json(service: ConfigService) -> None:
    """The end is a Unix time; malformed ids fail alone."""
    before = time()
    done = run(INVALIDATE, "acme", "no/id", "--block", "30m", "--format", "json")
    assert done.code == 2
    assert done.json["action"] == "block"
    (one,) = done.json["instances"]
    assert one["instance_id"] == "acme"
    assert one["was_cached"] is None
    assert 1800 <= one["blocked_until"] - before < 1900
    assert [each["instance_id"] for each in done.json["failed"]] == ["no/id"]
    done = run(INVALIDATE, "acme", "--unblock", "--format", "json")
    assert done.json["action"] == "unblock"
    assert done.json["instances"] == [
        {"instance_id": "acme", "was_cached": None, "was_blocked": True}
    ]


def test_block_dry_run(service: ConfigService) -> None:
    """--dry-run checks and names, and blocks or unblocks nothing."""
    done = run(INVALIDATE, "acme", "no/id", "--block", "3600", "--dry-run")
    assert done.code == 2
    assert re.fullmatch(f"Would block instance acme until {UNTIL}.\n", done.out)
    assert not is_blocked("acme")
    get_resolver().block_instance("acme", 3600)
    done = run(INVALIDATE, "acme", "--unblock", "--dry-run")
    assert (done.code, done.out) == (0, "Would unblock instance acme.\n")
    assert is_blocked("acme")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["acme", "--block", "24x"], "--block: a time is written like 24h, 30m, 2d or 3600"),
        (["acme", "--block", ""], "--block: a time is written like"),
        (["acme", "--block", "-1"], "--block: a time is written like"),
        (["acme", "--block", "0"], "--block: the duration must be from 1 second to 366 days"),
        (["acme", "--block", "400d"], "--block: the duration must be from 1 second to 366 days"),
        (["--block", "24h"], "Name instances"),
        (["--unblock"], "Name instances"),
        (["--all", "--block", "24h"], "--block is for instances by name."),
        (["--all", "--unblock"], "--unblock is for instances by name."),
        (["acme", "--project", "web", "--block", "24h"], "--block is for instances;"),
        (["acme", "--block", "24h", "--unblock"], "Only one of --block and --unblock at a time."),
        (["acme", "--block", "24h", "--expire"], "Only one of --expire and --block at a time."),
    ],
)
def test_block_usage(service: ConfigService, args: list[str], complaint: str) -> None:
    """What is wrong is said, with exit code 1, before anything is done."""
    done = run(INVALIDATE, *args, "--no-input")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(complaint)
    assert not is_blocked("acme")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86_400), ("30m", 1800), ("90s", 90), ("2d", 172_800), ("3600", 3600)],
)
def test_duration(text: str, seconds: float) -> None:
    """A time is a number with a unit; without one it is in seconds."""
    assert parse_duration(text) == seconds


def test_block_function_checks_its_duration(service: ConfigService) -> None:
    """The function refuses a wrong time before it blocks anything."""
    with pytest.raises(ValueError, match="from 1 second"):
        block(get_resolver(), ["acme"], 0)
    assert not is_blocked("acme")


def test_block_the_cache_does_not_take(settings: Settings, service: ConfigService) -> None:
    """A block that does not hold is a failure with exit code 3, and the other ids are blocked."""
    settings.CACHES = BROKEN
    done = run(INVALIDATE, "broken-1", "acme", "--block", "1h")
    assert done.code == 3
    assert done.err.endswith("1 of 2 failed: broken-1.")
    assert is_blocked("acme")
    assert run(INVALIDATE, "broken-1", "--unblock").code == 3
    assert SECRET not in done.out + done.err
    caches["default"].clear()  # all tests share its memory


def test_block_while_the_service_is_down(service: ConfigService) -> None:
    """A block needs no service: it is for the night in which that cannot be reached."""
    store("acme")
    service.server.stop()
    assert run(INVALIDATE, "acme", "--block", "1h").code == 0
    assert is_blocked("acme")


def test_warm_what_is_blocked(service: ConfigService) -> None:
    """Warming says which instances are blocked; the others are warmed."""
    get_resolver().block_instance("acme", 3600)
    done = run("warm_instance_cache", "acme", "globex")
    assert (done.code, done.out) == (2, "Warmed 1 of 2 instances.\n")
    assert "acme: ACCESS_DENIED (blocked): Instance 'acme' is blocked until " in done.err
    assert "/instances/acme" not in service.asked


@pytest.mark.parametrize("cache_kind", ["locmem", "db", "redis"])
def test_inspect_what_is_blocked(cached: ConfigService) -> None:
    """A block is a state of its own, with its end, in text and JSON, and nothing of the config."""
    store("acme")
    end = get_resolver().block_instance("acme", 3600)
    done = run("inspect_instance_cache", "acme", "--show-config")
    assert done.code == 0
    assert re.search(r"^acme +blocked +- +- +-", done.out, re.MULTILINE)
    assert re.search(rf"\(blocked until {UNTIL}\)", done.out)
    assert SECRET not in done.out
    assert TOKEN not in done.out
    (one,) = run("inspect_instance_cache", "acme", format="json").json["instances"]
    assert (one["state"], one["blocked_until"]) == ("blocked", end)
    get_resolver().unblock_instance("acme")
    (one,) = run("inspect_instance_cache", "acme", format="json").json["instances"]
    assert (one["state"], one["blocked_until"]) == ("absent", None)


@pytest.mark.extras
def test_inspect_all_shows_what_is_blocked(
    service: ConfigService, settings: Settings, redis_server: RedisServer
) -> None:
    """What is blocked is in the table of all instances that the service lists."""
    with use_cache("redis", redis_url=redis_server.url()) as alias:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        get_resolver().block_instance("globex", 3600)
        states = run("inspect_instance_cache", format="json").json["instances"]
    assert [one["state"] for one in states] == ["absent", "blocked", "absent"]


def test_block_by_another_process_reaches_the_near_cache(
    site: Site, service: ConfigService, redis_server: RedisServer, settings: Settings
) -> None:
    """What this process has in memory is refused once a command has blocked it."""
    with use_cache("redis", redis_url=redis_server.url()) as alias:
        config: Any = {k: v for k, v in settings.CACHES[alias].items() if k != "OPTIONS"}
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        site.configure(
            CACHES={"default": config, alias: config}, INSTANCE_LOOKUP=settings.INSTANCE_LOOKUP
        )
        near = get_resolver().cache.tiers.near

        def is_near() -> bool:
            return not is_blocked("acme") and near.get("acme") is not None

        wait_until(is_near)
        assert site.run(INVALIDATE, "acme", "--block", "1h").code == 0
        wait_until(lambda: is_blocked("acme"))
        assert near.get("acme") is None
