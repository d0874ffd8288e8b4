"""Routers and consumers of Channels, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.core.exceptions import ImproperlyConfigured
from django.urls import path, re_path

from instance_lookup import (
    AccessDenied,
    InvalidContext,
    acurrent_instance,
    current_instance,
    get_resolver,
)
from instance_lookup.asgi import InstanceConfigMiddleware
from tests.support.doors import OLGA, SAM, owned_by, serve
from tests.support.sockets import Socket, opened, scope_of

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

# Channels closes connections that are too old, of tests before this one as well.
pytestmark = pytest.mark.django_db

CLOSED = {"type": "websocket.close", "code": 4403, "reason": "ACCESS_DENIED"}


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    names = ("Header", "Path", "Project", "UserDefault")
    service = serve(
        settings, IDENTIFIERS=[f"instance_lookup.identifiers.{name}Identifier" for name in names]
    )
    for name in ("acme", "globex"):
        service.instances[name] = owned_by(OLGA, instance_id=name)
    service.projects["website"] = "globex"
    return service


class AsyncConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    groups = ("everybody",)

    async def receive(self, text_data: str = "", bytes_data: Any = None) -> None:
        config = await self.scope["instance_config"]()
        assert await acurrent_instance() == config
        await self.send(f"{config.instance_id} {text_data}")

    async def told(self, message: Any) -> None:
        await self.send(message["text"])


class SyncConsumer(WebsocketConsumer):  # type: ignore[misc]
    groups = ("everybody",)

    def receive(self, text_data: str = "", bytes_data: Any = None) -> None:
        config = async_to_sync(self.scope["instance_config"])()
        assert current_instance() == config
        self.send(f"{config.instance_id} {text_data}")

    def told(self, message: Any) -> None:
        self.send(message["text"])


CONSUMERS = pytest.mark.parametrize("consumer", [AsyncConsumer, SyncConsumer])


@pytest.fixture(autouse=True)
def _layer(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.mark.usefixtures("service")
@CONSUMERS
async def test_route_names_the_instance(consumer: Any) -> None:
    """Around a router, and inside one: the consumer's scope has what the URL names."""
    routes = [
        path("ws/<instance_id>/", consumer.as_asgi()),
        path(
            "deep/<instance_id>/",
            URLRouter([re_path(r"^(?P<project_id>\w+)/$", consumer.as_asgi())]),
        ),
    ]
    around: Any = InstanceConfigMiddleware(URLRouter(routes))
    wrapped: Any = InstanceConfigMiddleware(consumer.as_asgi())
    inside = URLRouter([path("ws/<instance_id>/", wrapped)])
    within = URLRouter([path("deep/", around)])
    for application, url, named in (
        (around, "/ws/globex/", "globex"),
        (around, "/deep/globex/website/", "globex"),
        (inside, "/ws/acme/", "acme"),
        (within, "/deep/ws/acme/", "acme"),
    ):
        async with opened(application, scope_of(path=url, user=OLGA)) as socket:
            assert (await socket.say("hello"))["text"] == f"{named} hello"
            await socket.leave()


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("named", "code"),
    [
        (scope_of("acme", path="/ws/globex/"), 4400),
        (scope_of(path="/ws/acme%2F/"), 4400),
        (scope_of(path="/ws/acme,globex/"), 4400),
        (scope_of(path="/of/acme/website/"), 4400),
        (scope_of(path="/ws/unknown/"), 4404),
    ],
)
async def test_route_is_never_ignored(named: Any, code: int) -> None:
    """Also where the user has a default that would do."""
    application = InstanceConfigMiddleware(
        URLRouter(
            [
                path("ws/<str:instance_id>/", AsyncConsumer.as_asgi()),
                path("of/<instance_id>/<project_id>/", AsyncConsumer.as_asgi()),
            ]
        ),
        required=True,
    )
    user = type(OLGA)("olga", default_instance_id="acme")
    socket = Socket(application, named | {"user": user})
    assert (await socket.connect())["code"] == code
    await socket.ended()


def test_router_is_left_as_it_is() -> None:
    """The same routes may serve without the middleware as well."""
    router = URLRouter([path("ws/", AsyncConsumer.as_asgi())])
    (route,) = router.routes
    before = route.callback
    InstanceConfigMiddleware(router)
    assert router.routes == [route]
    assert route.callback is before


def test_middleware_between_is_refused() -> None:
    """From outside of it the URL would not be seen, and the user's default taken in its place."""
    router = URLRouter([path("ws/<instance_id>/", AsyncConsumer.as_asgi())])
    by_type = ProtocolTypeRouter({"websocket": OriginValidator(router, ["*"])})
    for between in (
        BaseMiddleware(router),
        OriginValidator(BaseMiddleware(router), ["*"]),
        ProtocolTypeRouter({"http": AsyncConsumer.as_asgi(), "websocket": router}),
        BaseMiddleware(by_type),
    ):
        with pytest.raises(ImproperlyConfigured, match="directly around the URLRouter"):
            InstanceConfigMiddleware(between)
    InstanceConfigMiddleware(BaseMiddleware(InstanceConfigMiddleware(router)))
    InstanceConfigMiddleware(ProtocolTypeRouter({"websocket": InstanceConfigMiddleware(router)}))
    InstanceConfigMiddleware(BaseMiddleware(AsyncConsumer.as_asgi()))
    InstanceConfigMiddleware(AsyncMock())  # it has one of whatever it is asked for


@CONSUMERS
async def test_watched_consumer_is_closed(service: DictConfigService, consumer: Any) -> None:
    """By a message of the client, and by one that others send to a group."""
    application = InstanceConfigMiddleware(consumer.as_asgi(), watch=True)
    for by_group in (True, False):
        service.instances["acme"] = owned_by(OLGA)
        await get_resolver().ainvalidate_cache("acme")
        async with opened(application, scope_of("acme", user=OLGA)) as socket:
            assert (await socket.say("hello"))["text"] == "acme hello"
            await _tell("news")
            assert (await socket.take())["text"] == "news"
            service.instances["acme"] = owned_by(SAM)
            await get_resolver().ainvalidate_cache("acme")
            if by_group:
                await _tell("secret")
                assert await socket.take() == CLOSED
                await socket.leave()  # the server says so once the client has answered
            else:
                assert await socket.say("hello") == CLOSED
                await socket.ended()
            assert socket.nothing_sent()


async def _tell(text: str) -> None:
    await get_channel_layer().group_send("everybody", {"type": "told", "text": text})


@pytest.mark.usefixtures("service")
@CONSUMERS
async def test_uncaught_error_of_a_consumer_closes_it(consumer: Any) -> None:
    async with opened(
        InstanceConfigMiddleware(consumer.as_asgi()), scope_of("acme", user=SAM)
    ) as socket:
        assert await socket.say("hello") == CLOSED
        await socket.ended()


@pytest.mark.usefixtures("service")
async def test_consumer_may_answer_for_itself() -> None:
    class Polite(AsyncWebsocketConsumer):  # type: ignore[misc]
        async def connect(self) -> None:
            try:
                await self.scope["instance_config"]()
            except (AccessDenied, InvalidContext):
                await self.close(code=4001)
            else:
                await self.accept()

    application = InstanceConfigMiddleware(Polite.as_asgi())
    socket = Socket(application, scope_of("acme", user=SAM))
    closed = await socket.connect()
    assert (closed["type"], closed["code"]) == ("websocket.close", 4001)
    await socket.leave()
