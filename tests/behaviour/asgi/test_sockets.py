"""Sockets: what ends a connection, when, and with which code."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import requests
from asgiref.sync import sync_to_async

from instance_lookup import (
    CacheError,
    ConfigServiceUnavailable,
    InstanceConfig,
    get_resolver,
)
from instance_lookup.asgi import InstanceConfigMiddleware
from instance_lookup.users import LookupUser, user_context
from tests.support.canary import CANARY, places
from tests.support.doors import OLGA, SAM, Somebody, owned_by, serve
from tests.support.server_process import free_port
from tests.support.sockets import (
    GONE,
    TIMEOUT,
    Recorder,
    Socket,
    hello,
    instance_id,
    opened,
    scope_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from instance_lookup.backends.memory import DictConfigService

    Act = Callable[[DictConfigService], Awaitable[Any]]

DENIED: dict[str, Any] = {"code": 4403, "reason": "ACCESS_DENIED"}
DOWN = ConfigServiceUnavailable("down", retry_after=7)


async def _revoke(service: DictConfigService) -> None:
    service.instances["acme"] = owned_by(SAM)
    await get_resolver().ainvalidate_cache("acme")


async def _block(service: DictConfigService) -> None:
    await get_resolver().ablock_instance("acme", 60)


async def _delete(service: DictConfigService) -> None:
    del service.instances["acme"]
    await get_resolver().ainvalidate_cache("acme")


async def _break(service: DictConfigService) -> None:
    service.failure = DOWN
    await get_resolver().ainvalidate_cache("acme")


def close(code: int, reason: str) -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, "reason": reason}


REVOKED = pytest.mark.parametrize(
    ("act", "end"),
    [
        pytest.param(_revoke, DENIED, id="revoked"),
        pytest.param(_block, DENIED, id="blocked"),
        pytest.param(_delete, {"code": 4404, "reason": "INSTANCE_NOT_FOUND"}, id="deleted"),
    ],
)


@REVOKED
async def test_next_message_of_the_client_closes_the_socket(
    service: DictConfigService, act: Act, end: Any
) -> None:
    """The message is not handed on; the application hears that the socket is gone, once."""
    echo = Recorder(hello)
    async with opened(
        InstanceConfigMiddleware(echo, watch=True), scope_of("acme", user=OLGA)
    ) as socket:
        assert (await socket.say())["text"] == "hello"
        await act(service)
        assert await socket.say("secret") == {"type": "websocket.close"} | end
        await socket.ended()
        assert socket.nothing_sent()  # what the application answers to the end goes nowhere
    assert [message["type"] for message in echo.heard] == [
        "websocket.connect",
        "websocket.receive",
        "websocket.disconnect",
    ]
    assert echo.heard[-1] == {"type": "websocket.disconnect"} | end


@REVOKED
async def test_next_message_to_the_client_closes_the_socket(
    service: DictConfigService, act: Act, end: Any
) -> None:
    """A client that only listens gets no more of an instance that it may not have."""
    ticks: asyncio.Queue[str] = asyncio.Queue()

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        for _ in range(3):
            await send({"type": "websocket.send", "text": await ticks.get()})
        assert await receive() == GONE

    async with opened(
        InstanceConfigMiddleware(tell, watch=True), scope_of("acme", user=OLGA)
    ) as socket:
        await ticks.put("one")
        assert (await socket.take())["text"] == "one"
        await act(service)
        await ticks.put("two")
        assert await socket.take() == {"type": "websocket.close"} | end
        await ticks.put("three")
        await socket.leave()
        assert socket.nothing_sent()


async def test_without_watch_the_application_decides(service: DictConfigService) -> None:
    async with opened(
        InstanceConfigMiddleware(Recorder(hello)), scope_of("acme", user=OLGA)
    ) as socket:
        await _revoke(service)
        assert (await socket.say())["text"] == "hello"
        await socket.leave()


async def test_outage_closes_no_socket(service: DictConfigService) -> None:
    """Nobody has said no. What the application asks for itself says that it is not there."""
    async with opened(
        InstanceConfigMiddleware(Recorder(hello), watch=True), scope_of("acme", user=OLGA)
    ) as socket:
        assert (await socket.say())["text"] == "hello"
        await _break(service)
        assert (await socket.say())["text"] == "hello"
        await socket.leave()


async def test_stale_copy_serves_an_open_socket(service: DictConfigService, clock: Any) -> None:
    async with opened(
        InstanceConfigMiddleware(Recorder(instance_id), watch=True), scope_of("acme", user=OLGA)
    ) as socket:
        assert (await socket.say())["text"] == "acme"
        service.failure = DOWN
        clock.now += 600
        assert (await socket.say())["text"] == "acme"
        await socket.leave()


async def test_closed_socket_stays_closed(service: DictConfigService) -> None:
    """What the client sent before it heard of the end goes nowhere, even if they may again."""
    heard: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await _block(service)
        await send({"type": "websocket.send", "text": "secret"})
        await get_resolver().aunblock_instance("acme")
        heard.append(await receive())

    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        assert await socket.say() == close(**DENIED)
        await socket.ended()
    assert heard == [{"type": "websocket.disconnect"} | DENIED]


async def test_user_who_was_deactivated_is_closed_out(service: DictConfigService) -> None:
    user = Somebody("olga")
    async with opened(
        InstanceConfigMiddleware(Recorder(hello), watch=True), scope_of("acme", user=user)
    ) as socket:
        assert (await socket.say())["text"] == "hello"
        user.is_active = False
        assert await socket.say() == {"type": "websocket.close"} | DENIED
        await socket.ended()


async def test_concealed_denial_is_a_404(settings: Any) -> None:
    service = serve(settings, CONCEAL_DENIED=True)
    service.instances["acme"] = owned_by(SAM)
    for name in ("acme", "unknown"):
        socket = Socket(
            InstanceConfigMiddleware(Recorder(hello), required=True), scope_of(name, user=OLGA)
        )
        assert await socket.connect() == close(4404, "INSTANCE_NOT_FOUND")
        await socket.ended()


async def test_sockets_of_two_tenants_do_not_meet(service: DictConfigService) -> None:
    """One is revoked in the middle of the other's messages."""
    service.instances["globex"] = owned_by(SAM, instance_id="globex")
    application = InstanceConfigMiddleware(_each_its_own, watch=True)
    async with (
        opened(application, scope_of("acme", user=OLGA)) as acme,
        opened(application, scope_of("globex", user=SAM)) as globex,
    ):
        for _ in range(3):
            answers = await asyncio.gather(acme.say(), globex.say())
            assert [answer["text"] for answer in answers] == ["acme", "globex"]
        await _revoke(service)
        closed, answer = await asyncio.gather(acme.say(), globex.say())
        assert (closed["code"], answer["text"]) == (4403, "globex")
        await acme.ended()
        await globex.leave()


async def _each_its_own(scope: Any, receive: Any, send: Any) -> None:
    await Recorder(instance_id)(scope, receive, send)


async def test_message_outlives_a_receive_that_was_given_up(settings: Any) -> None:
    """An application stops to wait while the instance is looked up: the message is not lost."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    heard: list[Any] = []

    async def slow(user: Any, request: Any) -> Any:
        asked.set()
        await go_on.wait()
        return user_context(user, request)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        waiting = asyncio.ensure_future(receive())
        await asked.wait()
        waiting.cancel()
        go_on.set()
        heard.append(await receive())

    service = serve(settings, USER_CONTEXT=slow)
    service.instances["acme"] = owned_by(OLGA)
    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        await socket.put({"type": "websocket.receive", "text": "kept"})
        await socket.ended()
    assert [message["text"] for message in heard] == ["kept"]


class _SlowFirstLook:
    """A ``USER_CONTEXT`` that lets in its first user, late, and no one after that."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, user: Any, request: Any) -> Any:
        if self.began.is_set():
            return LookupUser.anonymous()
        self.began.set()
        await asyncio.wait_for(self.go_on.wait(), TIMEOUT)
        return user_context(user, request)


@pytest.mark.parametrize("ended_by", ["another look", "the application"])
async def test_message_to_the_client_is_overtaken_by_the_end(settings: Any, ended_by: str) -> None:
    """Servers raise for a message after the end, and a user who is refused gets none."""
    look = _SlowFirstLook()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        late = asyncio.ensure_future(send({"type": "websocket.send", "text": "late"}))
        await look.began.wait()
        if ended_by == "the application":
            await send({"type": "websocket.close", "code": 1000})
        else:
            assert (await receive())["type"] == "websocket.disconnect"
        look.go_on.set()
        await late

    service = serve(settings, USER_CONTEXT=look)
    service.instances["acme"] = owned_by(OLGA)
    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        assert (await socket.say())["type"] == "websocket.close"
        await socket.ended()
        assert socket.nothing_sent()


async def test_message_of_the_client_is_overtaken_by_the_end(settings: Any) -> None:
    """One that was let through by a look before the refusal does not reach the application."""
    look = _SlowFirstLook()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        late = asyncio.ensure_future(receive())
        await look.began.wait()
        await send({"type": "websocket.send", "text": "refused"})
        look.go_on.set()
        assert (await late)["type"] == "websocket.disconnect"

    service = serve(settings, USER_CONTEXT=look)
    service.instances["acme"] = owned_by(OLGA)
    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        assert await socket.say() == close(**DENIED)
        await socket.ended()


@pytest.mark.parametrize("by_client", [True, False])
async def test_nothing_is_sent_after_the_end(service: DictConfigService, by_client: bool) -> None:
    """Neither after the client's, nor after the application's own, whose code stands."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if by_client:
            assert await receive() == GONE
        else:
            await send({"type": "websocket.close", "code": 4000})
        await _revoke(service)
        await scope["instance_config"]()  # denied: there is no one left to tell

    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        if by_client:
            await socket.put(GONE)
        else:
            assert await socket.take() == {"type": "websocket.close", "code": 4000}
        await socket.ended()
        assert socket.nothing_sent()


@pytest.mark.parametrize("last_words", ["websocket.close", "websocket.send"])
async def test_socket_is_closed_once(service: DictConfigService, last_words: str) -> None:
    """What the application does when it hears of the end changes nothing about it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await _revoke(service)
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": last_words})
        await scope["instance_config"]()  # denied, as was said

    wrapped = InstanceConfigMiddleware(application, watch=True)
    async with opened(wrapped, scope_of("acme", user=OLGA)) as socket:
        assert await socket.say() == close(**DENIED)
        await socket.ended()
        assert socket.nothing_sent()


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("named", "end"),
    [
        (scope_of("acme", user=SAM), close(**DENIED)),
        (scope_of("acme"), close(**DENIED)),
        (scope_of("unknown", user=OLGA), close(4404, "INSTANCE_NOT_FOUND")),
        (scope_of("a,b", user=OLGA), close(4400, "INVALID_CONTEXT")),
    ],
)
@pytest.mark.parametrize("required", [True, False])
async def test_refused_before_it_is_accepted(
    named: Any, end: Any, required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """By ``required``, or by an error of the lookup that the application does not catch."""
    called = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        called.append(await receive())
        await scope["instance_config"]()
        await send({"type": "websocket.accept"})

    socket = Socket(InstanceConfigMiddleware(application, required=required), named)
    with caplog.at_level(logging.INFO, "instance_lookup"):
        assert await socket.connect() == end
        await socket.ended()
    assert bool(called) is not required
    assert f"Ended a connection with {end['code']}: " in caplog.text


async def test_uncaught_error_closes_an_open_socket(service: DictConfigService) -> None:
    async with opened(
        InstanceConfigMiddleware(Recorder(instance_id)), scope_of("acme", user=OLGA)
    ) as socket:
        assert (await socket.say())["text"] == "acme"
        await _break(service)
        assert await socket.say() == close(4503, "CONFIG_SERVICE_UNAVAILABLE")
        await socket.ended()


async def test_required_lets_in_those_who_may(service: DictConfigService) -> None:
    application = InstanceConfigMiddleware(Recorder(instance_id), required=True, watch=True)
    async with opened(application, scope_of("acme", user=OLGA)) as socket:
        assert (await socket.say())["text"] == "acme"
        await socket.leave()


@pytest.mark.usefixtures("service")
async def test_client_leaves_before_it_is_let_in() -> None:
    """The application hears of it, whoever the client was, and no one is answered."""
    heard: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())

    socket = Socket(
        InstanceConfigMiddleware(application, required=True), scope_of("acme", user=SAM)
    )
    await socket.leave()
    assert heard == [GONE]
    assert socket.nothing_sent()


@pytest.mark.usefixtures("service")
async def test_server_that_takes_responses_gets_a_problem() -> None:
    """Where the server can, the client of a handshake learns what an HTTP client would."""
    scope = scope_of("unknown", user=OLGA, extensions={"websocket.http.response": {}})
    socket = Socket(InstanceConfigMiddleware(Recorder(hello), required=True), scope)
    start, body = await socket.connect(), await socket.take()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["type"] == "urn:instance-lookup:instance-not-found"
    await socket.ended()


@pytest.mark.usefixtures("service")
async def test_error_of_management_is_not_answered() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise CacheError("the cache is full")

    client = Socket(InstanceConfigMiddleware(application), scope_of("acme", user=OLGA))
    with pytest.raises(CacheError):
        await client.ended()


@pytest.mark.usefixtures("service")
async def test_report_of_another_error_shows_no_key() -> None:
    """A consumer cannot connect to a worker: what the HTTP client had in hand is not shown."""

    bearer = InstanceConfig(instance_id="acme", api_keys={"render": CANARY}).bearer("render")
    url = f"http://127.0.0.1:{free_port()}"

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(requests.get)(url, auth=bearer, timeout=5)

    client = Socket(InstanceConfigMiddleware(application), scope_of("acme", user=OLGA))
    with pytest.raises(requests.ConnectionError) as caught:
        await client.ended()
    assert places(caught.value) == []
