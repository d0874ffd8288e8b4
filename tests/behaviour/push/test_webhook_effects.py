"""What a delivery does, on each kind of cache."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from instance_lookup import ConfigServiceUnavailable, InstanceResolver, Source, get_resolver
from instance_lookup.fetching.loader import AFTER_CHANGES
from instance_lookup.signals import instance_invalidated
from tests.support.caches import use_cache
from tests.support.insides import under_way
from tests.support.lookups import acme, asks, bucket, project
from tests.support.near import settled
from tests.support.waiting import wait_until
from tests.support.webhook import (
    NOW,
    Service,
    deliver,
    event,
    receive,
    refreshed,
    site,
)

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

TYPES = ["instance.updated", "instance.deleted", "instance.revoked"]


@pytest.mark.parametrize("event_type", TYPES)
def test_change_is_seen_by_the_next_request(
    event_type: str, alias: str, is_async: bool, service: Service
) -> None:
    """On every cache the request after a delivery has what the service has now."""
    with site(alias, service):
        assert bucket(get_resolver()) == ("first", Source.SERVICE)
        assert bucket(get_resolver()) == ("first", Source.CACHE)
        service.change("second")
        response = deliver(event(event_type), is_async=is_async)
        assert (response.status_code, response.content) == (204, b"")
        assert response["Cache-Control"] == "no-store"
        assert bucket(get_resolver())[0] == "second"
        refreshed()


def test_delivery_repeated(alias: str, service: Service) -> None:
    """A delivery has one effect: the second one is answered alike, and nothing is asked."""
    with site(alias, service):
        bucket(get_resolver())
        sent = event("instance.deleted")
        assert deliver(sent).status_code == 204
        bucket(get_resolver())
        asked = len(service.asked)
        assert deliver(sent).status_code == deliver(sent).status_code == 204
        assert bucket(get_resolver()) == ("first", Source.CACHE)
        assert len(service.asked) == asked


def test_same_delivery_at_once(alias: str, service: Service) -> None:
    """Of eight threads that deliver the same, one has the effect; the others are told to wait."""
    heard: list[str] = []
    began, goes_on = threading.Event(), threading.Event()

    def hear(**about: Any) -> None:
        heard.append(about["instance_id"])
        began.set()
        assert goes_on.wait(30)

    instance_invalidated.connect(hear)
    with site(alias, service):
        sent = event("instance.deleted", timestamp=NOW)
        outcomes: list[str] = []

        def run() -> None:
            outcomes.append(receive(sent))
            connections.close_all()

        first = threading.Thread(target=run)
        first.start()
        assert began.wait(30)
        threads = [threading.Thread(target=run) for _ in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert outcomes == ["pending"] * 7
        goes_on.set()
        first.join(30)
        assert outcomes[7:] == ["done"]
        assert (receive(sent), heard) == ("repeated", ["acme"])


@pytest.mark.parametrize("event_type", ["project.updated", "project.deleted"])
def test_project_changed(event_type: str, service: Service) -> None:
    """A project that belongs to another instance now leads there from the next request on."""
    service.projects = {"shop": "acme"}
    with site(service=service):
        assert get_resolver().resolve(project()).config.instance_id == "acme"
        service.projects = {"shop": "other"}
        assert get_resolver().resolve(project()).config.instance_id == "acme"
        assert deliver(event(event_type)).status_code == 204
        assert get_resolver().resolve(project()).config.instance_id == "other"


@pytest.mark.usefixtures("a_site")
def test_update_of_what_is_in_use(service: Service) -> None:
    """An updated instance is fetched at once: the next request finds it in the cache."""
    bucket(get_resolver())
    service.change("second")
    deliver(event())
    refreshed()
    assert service.asked == ["acme", "acme"]
    assert bucket(get_resolver()) == ("second", Source.CACHE)


@pytest.mark.parametrize("options", [{}, {"REFRESH_AHEAD": None}])
def test_update_of_what_is_not_in_use(options: dict[str, Any], service: Service) -> None:
    """Of what no one asked for lately, nothing is fetched; nor where refreshing ahead is off."""
    with site(service=service, **options):
        if options:
            bucket(get_resolver())
        before = len(service.asked)
        assert deliver(event()).status_code == 204
        assert len(service.asked) == before
        assert not under_way(get_resolver())


def test_update_of_what_was_used_long_ago(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is older than its ttl is kept for outages: that is no use."""
    with site(service=service):
        bucket(get_resolver())
        monkeypatch.setattr("instance_lookup.fetching.loader.time", lambda: NOW * 2.0)
        deliver(event())
        assert not under_way(get_resolver())
        assert service.asked == ["acme"]


def test_many_updates_in_one_go(service: Service) -> None:
    """However many instances change, the service is asked for a few ahead; callers find room."""
    ids = [f"one-{number}" for number in range(3 * AFTER_CHANGES)]
    service.instances |= {each: acme("first", instance_id=each) for each in ids}
    goes_on = threading.Event()
    with site(service=service):
        for each in ids:
            get_resolver().resolve(asks(instance_id=each))
        service.waits_for = goes_on
        try:
            for each in ids:
                assert deliver(event(instance_id=each)).status_code == 204
            assert under_way(get_resolver()) == AFTER_CHANGES
        finally:
            service.waits_for = None
            goes_on.set()
        refreshed()
        assert get_resolver().resolve(asks(instance_id=ids[-1])).source is Source.SERVICE


@pytest.mark.parametrize("event_type", TYPES)
def test_fetch_that_began_before_the_change(event_type: str, alias: str, service: Service) -> None:
    """An answer from before the change, which arrives after it, is not served to the next one."""

    def change() -> None:
        service.change("second")
        assert deliver(event(event_type)).status_code == 204

    with site(alias, service):
        service.meanwhile = change
        bucket(get_resolver())
        assert bucket(get_resolver())[0] == "second"
        refreshed()


@pytest.mark.parametrize("event_type", TYPES)
def test_other_processes(event_type: str, redis_server: RedisServer, service: Service) -> None:
    """Also a process that has a copy in its memory asks again."""
    with (
        use_cache("redis", redis_url=redis_server.url()) as alias,
        site(alias, service, NEAR_CACHE_SIZE=10, NEAR_CACHE_TTL=600),
    ):
        other = InstanceResolver(soft_timeout=0.02)
        for resolver in (get_resolver(), other):
            settled(resolver)
            bucket(resolver)
            bucket(resolver)
        service.change("second")
        assert deliver(event(event_type)).status_code == 204
        wait_until(lambda: bucket(other)[0] == "second")
        assert bucket(get_resolver())[0] == "second"
        refreshed()
        assert len(service.asked) == 2


@pytest.mark.usefixtures("a_site")
def test_update_twice_in_a_row(service: Service) -> None:
    """A second update, while the first one is fetched, is fetched as well."""
    bucket(get_resolver())
    asked, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert goes_on.wait(30)

    service.meanwhile = wait
    service.change("second")
    deliver(event())
    assert asked.wait(30)
    service.change("third")
    deliver(event())
    goes_on.set()
    refreshed()
    assert bucket(get_resolver()) == ("third", Source.CACHE)


@pytest.mark.parametrize(("event_type", "served"), [("updated", True), ("revoked", False)])
@pytest.mark.usefixtures("a_site")
def test_service_fails_after_a_change(event_type: str, served: bool, service: Service) -> None:
    """The copy of what was updated is served while the service fails, of what is gone it is not."""
    bucket(get_resolver())
    service.is_down = True
    assert deliver(event(f"instance.{event_type}")).status_code == 204
    refreshed()
    if served:
        assert bucket(get_resolver()) == ("first", Source.STALE_CACHE)
    else:
        with pytest.raises(ConfigServiceUnavailable):
            bucket(get_resolver())


@pytest.mark.parametrize("event_type", TYPES)
@pytest.mark.usefixtures("a_site")
def test_signal_is_sent(event_type: str) -> None:
    """Receivers hear of it as of any invalidation."""
    heard = []

    def hear(**about: Any) -> None:
        heard.append((about["instance_id"], about["expired"]))

    instance_invalidated.connect(hear)
    deliver(event(event_type))
    assert heard == [("acme", event_type == "instance.updated")]
