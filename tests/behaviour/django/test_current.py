"""What is current: the instance of a block, else of the request; in threads and tasks as well."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import path

from instance_lookup import (
    AccessDenied,
    InstanceNotFound,
    InstanceRequired,
    LookupUser,
    acurrent_instance,
    current_instance,
    use_instance,
)
from instance_lookup.access import IsAdmin
from instance_lookup.middleware import InstanceConfigMiddleware
from tests.support.doors import CALLERS, OLGA, SAM, Caller, owned_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from instance_lookup.backends.memory import DictConfigService


@pytest.fixture(autouse=True)
def _two_instances(service: DictConfigService) -> None:
    service.instances["globex"] = owned_by(OLGA, instance_id="globex")


async def _inside(instance_id: str, **options: Any) -> str:
    async with use_instance(instance_id, **options) as config:
        assert current_instance() is config
        assert await acurrent_instance() is config
        return config.instance_id


def _inside_sync(instance_id: str, **options: Any) -> str:
    with use_instance(instance_id, **options) as config:
        assert current_instance() is config
        return config.instance_id


TWINS = pytest.mark.parametrize("enter", [_inside_sync, async_to_sync(_inside)])


def current_id() -> str | None:
    """Return the id of the current instance; ``None``: there is none."""
    try:
        return current_instance().instance_id
    except InstanceRequired:
        return None


@TWINS
def test_block_gives_its_instance_and_ends(enter: Any) -> None:
    assert enter("acme", user=OLGA) == "acme"
    assert current_id() is None


@TWINS
def test_user_must_be_allowed(enter: Any) -> None:
    with pytest.raises(AccessDenied):
        enter("acme", user=SAM)
    with pytest.raises(InstanceNotFound):
        enter("unknown", user=OLGA)
    with pytest.raises(AccessDenied, match="You may not do this in instance 'acme'"):
        enter("acme", user=OLGA, policy=IsAdmin())
    assert enter("acme", user=LookupUser.service()) == "acme"
    assert current_id() is None


def test_blocks_nest_and_end_after_errors() -> None:
    with use_instance("acme", user=OLGA):
        with suppress(KeyError), use_instance("globex", user=OLGA):
            assert current_id() == "globex"
            raise KeyError
        assert current_id() == "acme"
        with pytest.raises(AccessDenied), use_instance("globex", user=SAM):
            pass
        assert current_id() == "acme"
    assert current_id() is None


def test_blocks_that_end_out_of_order_leave_nothing_behind() -> None:
    first, second = use_instance("acme", user=OLGA), use_instance("globex", user=OLGA)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert current_id() == "globex"
    second.__exit__(None, None, None)
    assert current_id() is None


def test_block_is_entered_once_at_a_time() -> None:
    block = use_instance("acme", user=OLGA)
    with block, pytest.raises(RuntimeError, match="entered already"):
        block.__enter__()
    with block:
        assert current_id() == "acme"


def test_block_that_is_left_twice_ends_once() -> None:
    with use_instance("acme", user=OLGA):
        inner = use_instance("globex", user=OLGA)
        inner.__enter__()
        inner.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        assert current_id() == "acme"


def test_tasks_have_their_own() -> None:
    async def work(name: str, turns: int) -> list[str | None]:
        seen = []
        async with use_instance(name, user=OLGA):
            for _ in range(turns):
                await asyncio.sleep(0)
                seen.append(current_id())
                seen.append(await sync_to_async(current_id)())
        return [*seen, current_id()]

    async def both() -> tuple[list[str | None], ...]:
        return await asyncio.gather(work("acme", 3), work("globex", 5))

    assert list(asyncio.run(both())) == [["acme"] * 6 + [None], ["globex"] * 10 + [None]]


async def test_generator_that_is_given_up_leaves_nothing_behind() -> None:
    """The event loop closes it in a task of its own."""

    async def rows() -> AsyncIterator[str | None]:
        async with use_instance("globex", user=OLGA):
            yield current_id()

    async with use_instance("acme", user=OLGA):
        async for row in rows():
            assert row == "globex"
            break
        for _ in range(3):
            await asyncio.sleep(0)
        assert current_id() == "acme"
    assert current_id() is None


def test_thread_of_ones_own_has_none() -> None:
    """Python's own threads begin without context variables; a copied context brings the block."""
    seen: list[str | None] = []
    with use_instance("acme", user=OLGA):
        thread = threading.Thread(target=lambda: seen.append(current_id()))
        thread.start()
        thread.join()
        async_to_sync(sync_to_async(lambda: seen.append(current_id())))()
    assert seen == [None, "acme"]


def _request(instance_id: str) -> Any:
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": instance_id})
    request.user = OLGA
    return request


def test_innermost_wins() -> None:
    """A block in a request, a request in a block, a request in a request."""
    seen: list[str | None] = []

    def inner(request: Any) -> HttpResponse:
        seen.append(current_id())
        return HttpResponse()

    def outer(request: Any) -> HttpResponse:
        seen.append(current_id())
        with use_instance("acme", user=OLGA):
            seen.append(current_id())
            InstanceConfigMiddleware(inner)(_request("globex"))
            seen.append(current_id())
        seen.append(current_id())
        return HttpResponse()

    response: Any = InstanceConfigMiddleware(outer)(_request("globex"))
    assert seen == ["globex", "acme", "globex", "acme", "globex"]
    assert response.headers["Cache-Control"] == "private"


def test_request_of_no_server_is_over_when_it_is_answered() -> None:
    """A command has a page rendered: what it does next is not for that page's tenant."""
    seen: list[str | None] = []

    def view(request: Any) -> HttpResponse:
        seen.append(current_id())
        return HttpResponse()

    InstanceConfigMiddleware(view)(_request("globex"))
    assert [*seen, current_id()] == ["globex", None]


def stream(request: Any) -> StreamingHttpResponse:
    request.user = OLGA
    str(request.instance_config.instance_id)  # before its headers are sent

    def parts() -> Iterator[str]:
        yield current_instance().instance_id

    return StreamingHttpResponse(parts())


async def astream(request: Any) -> StreamingHttpResponse:
    request.user = OLGA
    await request.ainstance_config()

    async def parts() -> AsyncIterator[str]:
        yield (await acurrent_instance()).instance_id

    return StreamingHttpResponse(parts())


urlpatterns = [path("stream", stream), path("astream", astream)]


@pytest.mark.parametrize("is_async", CALLERS)
def test_request_of_a_server_is_current_in_its_stream(
    settings: Any, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """The middleware has returned by then."""
    # The test client of Django 5.2 ends a stream as if it were in no event loop; django-valkey has
    # a coroutine called then.
    receivers = [each for each in request_finished.receivers if not each[-1]]
    monkeypatch.setattr(request_finished, "receivers", receivers)
    request_finished.sender_receivers_cache.clear()
    settings.ROOT_URLCONF = __name__
    response = Caller(is_async=is_async)("astream" if is_async else "stream", "globex")
    parts = async_to_sync(_collect)(response) if is_async else list(response)
    assert [*parts, current_id()] == [b"globex", None]


async def _collect(response: Any) -> list[bytes]:
    return [part async for part in response]


def test_error_says_what_to_do() -> None:
    with pytest.raises(InstanceRequired, match="Call it inside 'with use_instance"):
        current_instance()
    with pytest.raises(InstanceRequired, match="no request that the middleware"):
        async_to_sync(acurrent_instance)()
