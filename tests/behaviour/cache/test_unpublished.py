"""Changes that the cache takes, and that other processes cannot be told of."""

from __future__ import annotations

import socket
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from instance_lookup import CacheError, InstanceNotFound
from tests.behaviour.commands.support import run
from tests.outages.test_channel_faults import Proxy
from tests.support.lookups import TWINS, Twin, asks
from tests.support.near import (
    LONG,
    Counting,
    at_hand,
    channel,
    is_sure,
    near_caches,
    near_config,
    near_resolver,
    seen,
    settled,
    wait_for_delivery,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras


class BreaksAtPublish(Proxy):
    """Ends a connection on which something is published, before the server has it."""

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if b"PUBLISH" in data:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def denied(server: RedisServer) -> Iterator[str]:
    """Provide the URL of a user who may not publish."""
    words = ("ACL", "SETUSER", "mute", "on", ">pw", "~*", "&*", "+@all", "-publish")
    assert server.command(*words) == b"+OK"
    yield server.url().replace("//", "//mute:pw@")


@contextmanager
def broken(server: RedisServer) -> Iterator[str]:
    """Provide the URL of a way on which connections break when something is published."""
    with BreaksAtPublish(server.port) as proxy:
        yield server.url().replace(f":{server.port}", f":{proxy.port}")


@pytest.fixture(params=[denied, broken], ids=["denied", "broken"])
def mute(request: pytest.FixtureRequest, own_redis_server: RedisServer) -> Iterator[str]:
    """The alias "instances" on which nothing can be published; on "elsewhere" it can."""
    direct = near_config("django-redis", own_redis_server.url())
    with request.param(own_redis_server) as url:
        location = direct["LOCATION"].replace(own_redis_server.url(), url)
        with near_caches(elsewhere=direct, instances={**direct, "LOCATION": location}):
            yield "instances"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if "ublish" in (text := record.getMessage())]


@pytest.mark.parametrize("call", [["invalidate_cache", "acme"], ["invalidate_all_caches"]])
@pytest.mark.parametrize("twin", TWINS)
def test_invalidation_holds(call: list[str], twin: Twin, mute: str) -> None:
    """An invalidation that cannot be published is written, raises nothing, and is effective."""
    here = near_resolver()
    before = seen(here)
    twin(here, *call)
    assert seen(near_resolver(config_service_backend=here.backend)) != before
    assert here.get_cache_stats().unpublished == 1
    assert here.get_cache_stats().errors == 0


def test_invalidation_of_a_project_holds(mute: str) -> None:
    """An invalidation of a project that cannot be published is effective as well."""
    here, context = near_resolver(), asks(instance_id=None, project_id="shop")
    here.backend.instances["beta"] = {}
    assert here.resolve(context).config.instance_id == "acme"
    here.backend.projects["shop"] = "beta"
    here.invalidate_project("shop")
    again = near_resolver(config_service_backend=here.backend)
    assert again.resolve(context).config.instance_id == "beta"


@pytest.mark.parametrize("twin", TWINS)
def test_expiry_holds(twin: Twin, mute: str) -> None:
    """An expiry that cannot be published is effective: the service is asked first."""
    here = near_resolver()
    before = seen(here)
    twin(here.cache, "expire", "acme")
    assert seen(near_resolver(config_service_backend=here.backend)) != before


@pytest.mark.parametrize("size", [0, None], ids=["no near cache", "near cache"])
def test_missing_is_remembered(size: int | None, mute: str) -> None:
    """An unknown id is asked for once and costs the budget once, though nothing is published."""
    service = Counting()
    here = near_resolver(
        config_service_backend=service,
        miss_budget=3,
        near_cache_size=size,
        config_service_timeout=30,
    )
    for _ in range(4):
        assert [seen(here, name) for name in ("x", "y", "z")] == ["InstanceNotFound"] * 3
    assert service.answers == 3
    assert here.get_cache_stats().negative_hits == 9
    other = near_resolver(config_service_backend=service)
    assert seen(other, "x") == "InstanceNotFound"
    assert service.answers == 3


def test_other_processes_hear_within_the_ttl(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes serve their near copies for NEAR_CACHE_TTL after they were read."""
    here = near_resolver()
    there = near_resolver("elsewhere", config_service_backend=here.backend)
    wait_until(lambda: settled(there, "elsewhere") is not None, LONG)
    before = at_hand(there)
    here.cache.invalidate("acme")
    wait_for_delivery("elsewhere")
    assert seen(there) == before
    frozen = monotonic()
    monkeypatch.setattr("instance_lookup.cache.near.monotonic", lambda: frozen + 3600)
    monkeypatch.setattr(channel("elsewhere"), "sure_until", frozen + 7200)
    assert seen(there) != before


def test_log_has_one_line(mute: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line is logged when publishing begins to fail; it says what that means and what to do."""
    here = near_resolver(near_cache_size=0)
    here.cache.invalidate("acme")
    here.cache.expire("acme")
    here.invalidate_all_caches()
    assert seen(here, "nobody") == "InstanceNotFound"
    (line,) = lines(caplog)
    assert line.startswith("Invalidations are written, but not published to Redis at 127.0.0.1:")
    assert "NEAR_CACHE_TTL" in line
    assert f"may PUBLISH on {channel().name!r}" in line
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_log_says_when_it_works_again(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line says that publishing works again, for the person who corrected the ACL."""
    with denied(own_redis_server) as url, near_caches(instances=near_config("redis", url)):
        here = near_resolver()
        here.cache.invalidate("acme")
        own_redis_server.command("ACL", "SETUSER", "mute", "+publish")
        here.cache.invalidate("acme")
        here.cache.invalidate("acme")
    assert [line.partition(" ")[0] for line in lines(caplog)] == ["Invalidations", "Publishing"]
    assert here.get_cache_stats().unpublished == 1


def test_server_that_is_down_is_an_error_still(own_redis_server: RedisServer) -> None:
    """An invalidation that cannot be written is an error, and is not counted as unpublished."""
    config = near_config("django-redis", own_redis_server.url())
    with near_caches(instances=config):
        here = near_resolver()
        own_redis_server.kill()
        with pytest.raises(CacheError):
            here.invalidate_cache("acme")
        assert here.get_cache_stats().unpublished == 0


@pytest.mark.parametrize(
    "arguments",
    [["acme"], ["acme", "--expire"], ["--project", "shop"], ["--all", "--no-input", "--force"]],
    ids=["one", "expire", "project", "all"],
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_command_says_so_and_leaves_with_0(
    arguments: list[str], output: str, mute: str, settings: Settings
) -> None:
    """The command succeeds with 0, and says on stderr how long other processes may take."""
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_BACKEND": Counting(),
        "CACHE_ALIAS": mute,
        "NEAR_CACHE_TTL": 7.5,
    }
    done = run("invalidate_instance_cache", *arguments, format=output)
    assert done.code == 0
    assert "for 7.5 s more (NEAR_CACHE_TTL)" in done.err
    assert "CACHES['instances'] may PUBLISH" in done.err
    assert "PUBLISH" not in done.out


def test_command_that_could_tell_says_nothing(mute: str, settings: Settings) -> None:
    """A command that published everything says nothing of an earlier command's failure."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": Counting(), "CACHE_ALIAS": mute}
    assert run("invalidate_instance_cache", "acme").err
    assert not run("inspect_instance_cache", "acme").err


def test_command_that_warms_says_so(mute: str, settings: Settings) -> None:
    """The warming command says when an invalidation of a missing instance was not published."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": Counting(), "CACHE_ALIAS": mute}
    done = run("warm_instance_cache", "nobody")
    assert done.code == 2
    assert "may PUBLISH" in done.err


def test_near_cache_off_publishes(own_redis_server: RedisServer) -> None:
    """A process without a near cache publishes its changes, and listens to nothing."""
    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        here, there = near_resolver(), near_resolver(near_cache_size=0)
        for change in (there.cache.invalidate, there.cache.expire):
            settled(here)
            change("acme")
            wait_for_delivery()
            assert at_hand(here) is None
        settled(here)
        there.invalidate_all_caches()
        wait_until(lambda: at_hand(here) is None, LONG)
        settled(here)
        there.backend.instances.clear()
        with pytest.raises(InstanceNotFound):
            there.refresh("acme")
        wait_for_delivery()
        assert at_hand(here) is None
        assert is_sure()
