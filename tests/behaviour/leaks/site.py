"""A site that has a secret wherever one can be, and what is looked at from outside."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Mapping  # noqa: TC003  # msgspec reads annotations
from contextlib import ExitStack, contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.models import User
from django.dispatch import Signal
from django.test import AsyncClient, Client, override_settings
from msgspec import field

from instance_lookup import (
    InstanceConfig,
    InstanceMetadata,
    LookupContext,
    LookupUser,
    events,
    get_resolver,
    signals,
)
from tests.support.doors import Somebody
from tests.support.near import ALIAS, near_caches, near_config
from tests.support.secrets import key_bytes, secret
from tests.support.servers import Answer, ScriptedServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer
    from tests.support.servers import Received

HTML = "text/html,*/*;q=0.8"
REFUSED = ("acme", "missing", "wrong", "down")
"""Ids that a lookup of someone else's, or of these, ends with an error for."""


class Metadata(InstanceMetadata, frozen=True, kw_only=True):
    """What a project adds to ours."""

    support_pin: str = ""


class Config(InstanceConfig, frozen=True, kw_only=True):
    """A project's own class."""

    metadata: Metadata = Metadata()
    vault: str = ""
    passwords: Mapping[str, str] = field(default_factory=dict)


USERS: dict[str, Any] = {
    "ada": Somebody("ada", is_superuser=True, is_staff=True),
    "sam": Somebody("sam"),
}


def authenticate(get_response: Any) -> Any:
    """Be a middleware that sets the user by a header, without a database."""
    if not iscoroutinefunction(get_response):

        def middleware(request: Any) -> Any:
            request.user = USERS[request.headers["X-User"]]
            return get_response(request)

        return middleware

    async def amiddleware(request: Any) -> Any:
        request.user = USERS[request.headers["X-User"]]
        return await get_response(request)

    return markcoroutinefunction(amiddleware)


authenticate.sync_capable = authenticate.async_capable = True  # type: ignore[attr-defined]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    f"{__name__}.authenticate",
    "django.contrib.messages.middleware.MessageMiddleware",
    "instance_lookup.middleware.InstanceConfigMiddleware",
]


class Site:
    """The site: its Config Service, behind a proxy, and its Redis, where everything is sealed."""

    def __init__(self, server: ScriptedServer, redis: RedisServer) -> None:
        self.server, self.redis = server, redis
        self.dead = f"http://127.0.0.1:{free_port()}/jobs"
        User.objects.create_superuser("ada")  # whom a command is told by name
        server.answers = self._answer

    def settings(self) -> dict[str, Any]:
        """Return ``INSTANCE_LOOKUP``."""
        user = f"{secret('proxy user')}:{secret('proxy password')}"
        return {
            "CONFIG_SERVICE_URL": "http://config.invalid",
            "CONFIG_SERVICE_PROXY": f"http://{user}@127.0.0.1:{self.server.port}",
            "CONFIG_SERVICE_TOKEN": secret("token"),
            "ENCRYPTION_KEYS": [base64.urlsafe_b64encode(key_bytes("encryption key")).decode()],
            "WEBHOOK_SECRETS": [webhook_secret()],
            "CONFIG_CLASS": f"{__name__}.Config",
            "CACHE_ALIAS": ALIAS,
            "RETRY_INTERVAL": 0.001,
            "BREAKER_FAILURES": 1_000,
        }

    def get(
        self,
        path: str,
        instance: str = "acme",
        *,
        user: str = "ada",
        is_async: bool = False,
        accept: str = HTML,
    ) -> str:
        """Return what a browser is sent, headers and all."""
        client: Any = (AsyncClient if is_async else Client)(raise_request_exception=False)
        get = async_to_sync(client.get) if is_async else client.get
        headers = {"X-Instance-ID": instance, "X-User": user, "Accept": accept}
        response = get(f"/{path}", headers=headers)
        return f"{response.status_code} {response.headers} {response.content.decode()}"

    def resolve(self, instance: str = "acme", user: LookupUser | None = None) -> Any:
        """Look up, and return the result, or the error."""
        user = user or LookupUser("ada", roles=("admin",))
        try:
            return get_resolver().resolve(LookupContext(user, instance_id=instance))
        except Exception as exc:  # noqa: BLE001  # each is looked at
            return exc

    def use(self) -> list[Any]:
        """Have everything happen that a lookup can end with; return results and errors."""
        resolver = get_resolver()
        resolver.invalidate_cache("acme")
        results = [self.resolve(), self.resolve()]
        results += [self.resolve(each, LookupUser("sam")) for each in REFUSED]
        resolver.cache.expire("acme")
        return [*results, self.resolve()]

    def _answer(self, request: Received) -> Answer:
        path = urlsplit(request.path).path
        name = path.rpartition("/")[2]
        if path == "/instances":
            return _json({"instances": ["acme"], "next": None})
        if path.startswith("/projects/"):
            return _json({"project_id": name, "instance_id": "acme"})
        if name == "acme":
            return _json(self._document())
        if name == "wrong":
            return _json(self._document() | {"instance_id": "wrong", "rate_limits": {"a": "b"}})
        if name == "down":
            return Answer(500, json.dumps(self._document()).encode())
        return Answer(200, b"{}") if path == "/jobs" else _json({}, 404)

    def _document(self) -> dict[str, Any]:
        user = f"{secret('worker user')}:{secret('worker password')}"
        place = f"127.0.0.1:{self.server.port}/jobs"
        key = secret("api key")
        return {
            "instance_id": "acme",
            "api_keys": {"render": key, "plain": key, "dead": key},
            "worker_urls": {
                "render": f"http://{user}@{place}?sig={secret('worker query')}",
                "plain": f"http://{place}",
                "dead": self.dead,
            },
            "metadata": {"owner": "olga", "support_pin": secret("own metadata")},
            "vault": secret("own field"),
            "passwords": {"database": secret("own mapping")},
            "recovery_code": secret("unknown field"),
            "features": {"beta": True},
        }


def webhook_secret() -> str:
    """Return what the Config Service signs its deliveries with."""
    return f"whsec_{base64.b64encode(key_bytes('webhook secret')).decode()}"


def _json(document: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


@contextmanager
def site(redis: RedisServer) -> Iterator[Site]:
    """Provide the site; everything is said in its log."""
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer())
        caches = {ALIAS: near_config("django-redis", redis.url())}
        stack.enter_context(near_caches(**caches))
        here = Site(server, redis)
        stack.enter_context(
            override_settings(
                INSTANCE_LOOKUP=here.settings(),
                MIDDLEWARE=MIDDLEWARE,
                ROOT_URLCONF="tests.behaviour.leaks.urls",
            )
        )
        yield here


@contextmanager
def told() -> Iterator[list[Any]]:
    """Collect every event and signal."""
    seen: list[Any] = []

    def receive(**told: Any) -> None:
        seen.append(told)

    sent = [each for each in vars(signals).values() if isinstance(each, Signal)]
    for signal in sent:
        signal.connect(receive)
    events.watch(seen.append)
    try:
        yield seen
    finally:
        events.unwatch(seen.append)
        for signal in sent:
            signal.disconnect(receive)


@contextmanager
def log() -> Iterator[StringIO]:
    """Collect what all loggers say at DEBUG, with local variables and all that records hold."""

    class Everything(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{super().format(record)} {record.args!r} {vars(record)!r}"

        def formatException(self, ei: Any) -> str:  # noqa: N802
            return traced(ei[1])

    lines, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(Everything("%(name)s %(levelname)s %(message)s"))
    # Django sets its own to INFO, and SQL is said at DEBUG.
    loggers = [root, *(logging.getLogger(name) for name in root.manager.loggerDict)]
    levels = [each.level for each in loggers]
    root.addHandler(handler)
    for each in loggers:
        each.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def traced(error: BaseException) -> str:
    """Return a traceback with local variables."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format())
