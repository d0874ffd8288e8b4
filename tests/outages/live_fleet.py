"""The test site as a fleet runs it: on a Redis, with a lookup made before the workers are.

Each answer names the process that gave it. The environment names the Config Service and the Redis.
"""

from __future__ import annotations

import os
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from instance_lookup import LookupContext, LookupUser, get_resolver
from tests.support.caches import cache_config
from tests.support.insides import flights_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

IS_QUIET = "QUIET" in os.environ
"""No thread runs when the server forks: each one waits, and nothing wakes it."""

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
_cache = cache_config("django-redis", redis_url=os.environ["REDIS_URL"], SOCKET_TIMEOUT=20)
settings.CACHES = {"default": {**_cache, "KEY_PREFIX": "live-fleet"}}
settings.INSTANCE_LOOKUP = {
    "CONFIG_SERVICE_URL": os.environ["CONFIG_SERVICE_URL"],
    "CONFIG_SERVICE_STREAM": os.environ.get("CONFIG_SERVICE_STREAM"),
    "CONFIG_SERVICE_TIMEOUT": 20,
    "ALLOW_ANONYMOUS": True,
    "NEAR_CACHE_SIZE": 0 if IS_QUIET else None,  # else one listens
    "ACCESS_POLICY": "tests.support.live.is_open",
}

_wsgi: Any = get_wsgi_application()
_asgi: Any = get_asgi_application()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
        return start_response(status, [*headers, ("X-Pid", str(os.getpid()))], *args)

    answer: Iterable[bytes] = _wsgi(environ, start)
    return answer


async def asgi(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    async def tell(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-pid", str(os.getpid()).encode())]
        await send(message)

    await _asgi(scope, receive, tell)


def look_up(instance_id: str) -> str:
    """Look up as the site itself, and tell where the answer came from."""
    context = LookupContext(LookupUser.service(), instance_id=instance_id)
    return str(get_resolver().resolve(context).source)


if "LOOK_UP_FIRST" in os.environ:
    # What a site may do when it is loaded, before its server forks: one lookup that is over then,
    # and one that is under way.
    look_up("first")
    Thread(target=look_up, args=["slow"], daemon=True).start()
    wait_until(lambda: flights_of(get_resolver()))
    if IS_QUIET:
        sleep(1)  # those without work end
