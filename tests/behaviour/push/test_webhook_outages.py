"""Deliveries while the cache is down, or says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import get_resolver
from instance_lookup.testing import faulty_cache
from tests.support.caches import use_cache
from tests.support.lookups import bucket
from tests.support.webhook import (
    Service,
    deliver,
    event,
    logged,
    site,
)

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.support.redis_server import RedisServer


def test_cache_down(is_async: bool, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """While the cache is down a delivery is to come again, and has its effect then."""
    with site(service=service), faulty_cache() as faults:
        bucket(get_resolver())
        service.change("second")
        sent = event("instance.deleted")
        faults.fail()
        with logged(caplog) as lines:
            for _ in range(2):
                response = deliver(sent, is_async=is_async)
                assert (response.status_code, response["Retry-After"]) == (503, "5")
                assert response.json()["title"] == "Service Unavailable"
            faults.recover()
            assert deliver(sent, is_async=is_async).status_code == 204
        assert [line.partition(".")[0] for line in lines] == [
            "The cache 'default' failed to remember a delivery: ConnectionError",
            "The webhook, cache, works again",
        ]
        assert bucket(get_resolver())[0] == "second"


def test_effect_fails(service: Service) -> None:
    """A delivery whose effect the cache did not take is not taken for done."""
    with site(service=service), faulty_cache() as faults:
        bucket(get_resolver())
        service.change("second")
        sent = event("instance.deleted")
        faults.fail("get")
        assert deliver(sent).status_code == 503
        faults.recover()
        assert deliver(sent).status_code == 204
        assert bucket(get_resolver())[0] == "second"


def test_mark_cannot_be_taken_back() -> None:
    """A mark that stays is that of a delivery under way: it is to come again, until it ends."""
    with site(), faulty_cache() as faults:
        sent = event("instance.deleted")
        faults.fail("get", "delete")
        assert deliver(sent).status_code == 503
        faults.recover()
        response = deliver(sent)
        assert (response.status_code, response["Retry-After"]) == (503, "1")


@pytest.mark.extras
def test_cache_that_hides_its_failures(own_redis_server: RedisServer) -> None:
    """A cache that swallows its errors tells of no outage, and yet nothing is taken for done."""
    options: dict[str, Any] = {"SOCKET_TIMEOUT": 0.5, "IGNORE_EXCEPTIONS": True}
    with (
        use_cache("django-redis", redis_url=own_redis_server.url(), **options) as alias,
        site(alias),
    ):
        sent = event("instance.deleted")
        own_redis_server.stop()
        assert deliver(sent).status_code == 503
        own_redis_server.start()
        assert deliver(sent).status_code == 204


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["redis", "django-redis"])
def test_redis_stopped(kind: str, own_redis_server: RedisServer, service: Service) -> None:
    """With Redis gone a delivery is to come again; when it is back, it has its effect."""
    with use_cache(kind, redis_url=own_redis_server.url()) as alias, site(alias, service):
        bucket(get_resolver())
        service.change("second")
        sent = event("instance.deleted")
        own_redis_server.stop()
        assert deliver(sent).status_code == 503
        own_redis_server.start()
        assert deliver(sent).status_code == 204
        assert bucket(get_resolver())[0] == "second"


def test_cache_that_keeps_nothing(settings: Settings) -> None:
    """Where nothing can be remembered, each delivery has its effect: there is nothing to lose."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with site():
        sent = event("instance.deleted")
        assert deliver(sent).status_code == deliver(sent).status_code == 204
