"""No frame of an error of the cache, nor of what it was raised from, holds an API key."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import CacheError, InstanceCache, InstanceConfig
from instance_lookup.exceptions import forget_locals
from tests.support.lookups import SECRET, TWINS, Twin
from tests.support.near import ALIAS, BACKENDS, near_caches, near_config
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.extras

OWN = "instance_generation:acme"


def config() -> InstanceConfig:
    return InstanceConfig(instance_id="acme", api_keys={"ideogram": SECRET})


def chain(exc: BaseException) -> list[BaseException]:
    """Return an error and all that it was raised from, or during: each once."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [exc]
    while left:
        if (each := left.pop()) is not None and each not in found:
            found.append(each)
            left += [each.__cause__, each.__context__]
    return found


def everything_held_by(exc: BaseException) -> str:
    """Return what the frames and attributes hold: those of this file know the key, of course."""
    held = []
    for each in chain(exc):
        held.append(f"{each!r} {vars(each)}")
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename != __file__:
                held.append(f"{frame.f_code.co_qualname}: {frame.f_locals!r}")
    return "\n".join(held)


@pytest.fixture(params=[*BACKENDS, "by Django"])
def server(request: pytest.FixtureRequest, own_redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server with an entry of which the generation is gone, so that a read has to write."""
    backend = request.param if request.param in BACKENDS else "django-redis"
    configs = {ALIAS: near_config(backend, own_redis_server.url())}
    if backend != request.param:
        faulty = {"BACKEND": "instance_lookup.testing.FaultyCache", "LOCATION": "behind"}
        configs = {"behind": configs[ALIAS], ALIAS: faulty}
    with near_caches(**configs):
        InstanceCache(ALIAS).set("acme", config())
        caches[ALIAS].delete(OWN)
        yield own_redis_server


def fill_up(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.command("CONFIG", "SET", "maxmemory", "1")


@pytest.mark.parametrize("fault", [fill_up, RedisServer.kill], ids=["full", "gone"])
@pytest.mark.parametrize("verb", ["get", "set", "invalidate"])
@pytest.mark.parametrize("twin", TWINS)
def test_no_frame_holds_a_key(
    server: RedisServer, fault: Callable[[RedisServer], None], verb: str, twin: Twin
) -> None:
    """No frame of a cache error holds a key: neither ours nor the emptied ones of the client."""
    cache = InstanceCache(ALIAS)
    more: tuple[Any, ...] = (config(),) if verb == "set" else ()
    kept = {"generation": "e.o."} if verb == "set" else {}
    fault(server)
    with pytest.raises(CacheError) as caught:
        twin(cache, verb, "acme", *more, **kept)
    assert len(chain(caught.value)) > 1
    assert SECRET not in everything_held_by(caught.value)


def test_error_that_was_never_raised_has_no_frames() -> None:
    """An error that was never raised has no frames, and may still be a cause."""
    exc = OSError("ours")
    exc.__cause__ = LookupError("theirs")
    forget_locals(exc)
    assert chain(exc) == [exc, exc.__cause__]


def test_what_a_caller_is_handling_keeps_its_frames() -> None:
    """An error of the project's own, during which ours happens, is none of our business."""

    def fail() -> None:
        mine = "kept"
        raise LookupError(mine)

    def ask() -> None:
        try:
            fail()
        except LookupError:
            with pytest.raises(OSError, match="ours") as ours:
                raise OSError("ours") from None
            forget_locals(ours.value)
            raise

    with pytest.raises(LookupError) as theirs:
        ask()
    frames = [frame for frame, _ in traceback.walk_tb(theirs.value.__traceback__)]
    assert frames[-1].f_locals == {"mine": "kept"}
