from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from django.test import AsyncClient, Client

from tests.behaviour.status.support import cache_down
from tests.support.canary import CANARY
from tests.support.lookups import hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import Settings

    from tests.behaviour.status.support import Site

URL = "/ops/health/"


@pytest.fixture(autouse=True)
def urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.support.urls_operations"


def bring_down(site: Site) -> None:
    """Have the service fail for an instance, and the cache as well where that is down."""
    site.answer(500)
    assert site.look_up() == "CONFIG_SERVICE_UNAVAILABLE"


def test_health_json(site: Site) -> None:
    """It answers with JSON that is not to be kept, without a log-in."""
    site.look_up()
    response = Client().get(URL)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Accept"
    assert response.json()["state"] == "healthy"


def test_health_text(site: Site) -> None:
    """A client that prefers text gets the state, and what is wrong."""
    bring_down(site)
    response = Client().get(URL, headers={"accept": "text/plain, application/json;q=0.5"})
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    lines = response.content.decode().splitlines()
    assert lines == ["degraded", "The Config Service fails (status): stale copies are served."]


def test_health_accept_too_long(site: Site) -> None:
    """A header that Django refuses to read, as any client can send it, is no error of the site."""
    response = Client().get(URL, headers={"accept": f"x/y;a={'b' * 20_000}"})
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"


def test_health_degraded(site: Site) -> None:
    """A process that serves stale copies stays in service."""
    bring_down(site)
    response = Client().get(URL)
    assert (response.status_code, response.json()["state"]) == (200, "degraded")


def test_health_unhealthy(site: Site) -> None:
    """A process that can serve nothing answers 503."""
    with cache_down():
        bring_down(site)
        response = Client().get(URL)
    assert (response.status_code, response.json()["state"]) == (503, "unhealthy")


async def test_health_async(site: Site) -> None:
    """Under ASGI it answers the same."""
    response: Any = await AsyncClient().get(URL)
    assert (response.status_code, response.json()["state"]) == (200, "healthy")


def test_health_head_only(site: Site) -> None:
    """It can be read, and nothing else."""
    assert Client().head(URL).status_code == 200
    assert Client().post(URL).status_code == 405


def test_health_asks_nothing(site: Site) -> None:
    """With all down an answer takes no call of service, cache or database."""
    asked = []
    with cache_down():
        bring_down(site)
    site.server.received.clear()
    with hooks(lambda verb, key: asked.append(key)):
        quickest = min(timed(Client().get, URL) for _ in range(20))
    assert (asked, site.server.received) == ([], [])
    assert quickest < 0.05  # a test client and its middleware; the status takes 15 µs


def timed(act: Callable[..., object], *args: object) -> float:
    begun = perf_counter()
    act(*args)
    return perf_counter() - begun


def test_health_shows_no_ids(site: Site) -> None:
    """Neither an instance's id nor a key is in an answer."""
    site.look_up()
    with cache_down():
        bring_down(site)
        response = Client().get(URL)
    shown = response.content.decode()
    assert "acme" not in shown
    assert CANARY not in shown
