"""The webhook: what each delivery is answered with, and what it does."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.db import connections
from django.test import AsyncClient, Client, override_settings
from django.test.client import RequestFactory

from instance_lookup import InvalidContext, Source, get_resolver
from instance_lookup.push import deliveries, limits
from instance_lookup.push.receiver import get_receiver
from instance_lookup.resilience.health import logger
from instance_lookup.signals import instance_invalidated
from instance_lookup.testing import faulty_cache
from tests.support.insides import under_way
from tests.support.lookups import VARIANT_PARAMS, asks, bucket, project, provide_variant
from tests.support.waiting import wait_until
from tests.support.webhook import (
    NOW,
    OTHER,
    SECRET,
    URL,
    Service,
    deliver,
    event,
    receive,
    site,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings

TYPES = ["instance.updated", "instance.deleted", "instance.revoked"]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=VARIANT_PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of cache, and what there is of options."""
    yield from provide_variant(request, tmp_path)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


@pytest.fixture
def a_site(service: Service) -> Iterator[None]:
    with site(service=service):
        yield


def refreshed() -> None:
    """Wait until nothing is fetched in the background."""
    wait_until(lambda: not under_way(get_resolver()))


@contextmanager
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    with caplog.at_level(logging.INFO):
        caplog.clear()
        yield (lines := [])
        lines += [record.getMessage() for record in caplog.records if record.name == logger.name]


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


def test_outage_of_the_service(service: Service) -> None:
    """After an update the copy is served if the service fails; after a deletion it is not."""
    with site(service=service):
        bucket(get_resolver())
        service.fail_with = InvalidContext("down")
        deliver(event())
        refreshed()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("event_type", TYPES)
@pytest.mark.usefixtures("a_site")
def test_answer_confirms_no_id(event_type: str, known: bool) -> None:
    """The answer is the same whether an instance exists, is cached, or neither."""
    if known:
        bucket(get_resolver())
    response = deliver(event(event_type, instance_id="acme" if known else "nowhere"))
    found = response.status_code, response.content, dict(response.headers)
    assert found == (204, b"", {"Cache-Control": "no-store"})
    refreshed()


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


@pytest.mark.usefixtures("a_site")
def test_unknown_type(is_async: bool) -> None:
    """What this release does not know is taken, and does nothing."""
    response = deliver(event("instance.archived"), is_async=is_async)
    assert (response.status_code, response.content) == (202, b"")


@pytest.mark.usefixtures("a_site")
def test_malformed_event() -> None:
    """A signed delivery that is no event is refused, in words."""
    response = deliver(event("instance.updated", instance_id="no id"))
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "no-store"
    assert response.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "data of 'instance.updated': instance_id is 'no id', which is no id",
        "request_id": response.json()["request_id"],
    }


@pytest.mark.usefixtures("a_site")
def test_bad_signature(is_async: bool) -> None:
    """A forged delivery is refused, and the copy stays."""
    bucket(get_resolver())
    response = deliver(event("instance.deleted", secret=OTHER), is_async=is_async)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Webhook-Signature"
    assert response.json()["detail"] == "webhook-signature matches none of WEBHOOK_SECRETS"
    assert bucket(get_resolver()) == ("first", Source.CACHE)


@pytest.mark.usefixtures("a_site")
def test_headers_of_any_kind() -> None:
    """Headers that are no text are no error of the site."""
    sent = event()
    for value in ("\x80\xff", "\u20ac", "v1,\u20ac", ""):
        assert deliver(sent, **{"webhook-signature": value}).status_code == 401
        assert deliver(sent, **{"webhook-id": value}).status_code == 401


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options", "patch"])
@pytest.mark.usefixtures("a_site")
def test_other_methods(method: str) -> None:
    """Deliveries are posted."""
    response = getattr(Client(), method)(URL)
    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_no_secrets() -> None:
    """Without secrets there is no webhook, whatever is delivered."""
    with site(WEBHOOK_SECRETS=()):
        assert deliver(event()).status_code == 404


def test_body_too_long(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is said to be too long is not read."""

    def read(*args: object) -> bytes:
        raise AssertionError("it was read")

    with site():
        monkeypatch.setattr("django.http.request.HttpRequest.read", read)
        sent = event()._replace(body=b" " * 65_537)
        assert deliver(sent, is_async=is_async).status_code == 413


def test_longest_body() -> None:
    """A body of 64 KiB is taken, though the site takes no forms of that length."""
    with site(), override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        sent = event("instance.deleted", more="x" * 65_385)
        assert len(sent.body) == 65_536
        assert deliver(sent).status_code == 204


async def test_body_of_unknown_length() -> None:
    """Without a length, as in chunks, no more is read than the limit."""
    with site():
        for length, status in ((65_536, 401), (65_537, 413)):
            response: Any = await AsyncClient().post(
                URL, b"x" * length, content_type="application/json", CONTENT_LENGTH=""
            )
            assert response.status_code == status


@pytest.mark.parametrize("length", ["-1", "x", "٣", "1" * 5000, ""])
def test_length_of_any_kind(length: str) -> None:
    """A length that is none, or not that of the body, is no error of the site."""
    with site():
        sent = event()
        response = Client().post(
            URL, sent.body, content_type="application/json", CONTENT_LENGTH=length
        )
        assert response.status_code in {400, 401, 411, 413}


def test_body_ends_early() -> None:
    """A sender who hangs up in the middle is no error of the site."""

    class Broken:
        def read(self, *args: object) -> bytes:
            raise OSError("gone")

    with site():
        request = RequestFactory().post(URL, b"x", content_type="application/json")
        request.environ["wsgi.input"] = request._stream = Broken()  # type: ignore[attr-defined]
        response = Client().generic("POST", URL, **{"wsgi.input": Broken(), "CONTENT_LENGTH": "9"})
        assert response.status_code == 400
        assert "ended early" in response.json()["detail"]


@pytest.mark.usefixtures("a_site")
@pytest.mark.django_db
def test_site_that_guards_all_views(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Neither CSRF, nor a log-in for each page, nor a transaction around each one is in the way."""
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    client: Any = Client(enforce_csrf_checks=True)
    sent = event()
    response = client.post(URL, sent.body, content_type="application/json", headers=sent.headers)
    assert response.status_code == 204
    assert client.get("/ops/health/").status_code == 200
    assert deliver(event(), is_async=is_async).status_code == 204


def test_without_our_middleware(settings: Settings) -> None:
    """The webhook needs no middleware."""
    settings.MIDDLEWARE = []
    with site():
        assert deliver(event()).status_code == 204


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
def test_cache_that_hides_its_failures(own_redis_server: Any) -> None:
    """A cache that swallows its errors tells of no outage, and yet nothing is taken for done."""
    from tests.support.caches import use_cache

    options = {"SOCKET_TIMEOUT": 0.5, "IGNORE_EXCEPTIONS": True}
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
def test_redis_stopped(kind: str, own_redis_server: Any, service: Service) -> None:
    """With Redis gone a delivery is to come again; when it is back, it has its effect."""
    from tests.support.caches import use_cache

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


def test_delivery_broke_off(service: Service) -> None:
    """The mark of a process that ended in the middle ends by itself, and so do those of all."""
    with site(service=service):
        lives = []
        cache = caches["default"]
        real_add, real_set = cache.add, cache.set

        def add(key: str, value: str, life: int) -> bool:
            lives.append(life)
            return real_add(key, value, life)

        def put(key: str, value: str, life: int) -> None:
            if key.startswith("instance_delivery"):
                lives.append(life)
            real_set(key, value, life)

        cache.add, cache.set = add, put  # type: ignore[method-assign,assignment]
        try:
            deliveries.deliver("msg_1", lambda: None, "default")
        finally:
            del cache.add, cache.set
        assert lives == [30, 660]


def test_too_many_unsigned(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """A forger is told to wait; the sender behind the same proxy is not."""
    with site(service=service), logged(caplog) as lines:
        forged, real = event(secret=OTHER, timestamp=NOW), event(timestamp=NOW)
        outcomes = [receive(forged) for _ in range(limits.LIMITS["unsigned"] + 2)]
        assert outcomes == ["unsigned"] * 60 + ["limited"] * 2
        assert receive(forged, source="192.0.2.2") == "unsigned"
        assert receive(real) == "done"
        assert receive(forged, now=NOW + 60) == "unsigned"
        refreshed()
    assert [line.partition(": ")[0] for line in lines] == [
        "A delivery to the webhook from '192.0.2.1' was refused",
        "A delivery to the webhook from '192.0.2.1' was refused",
        "The webhook got a delivery with a good signature.",
    ]


def test_too_many_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that does not stop is told when to go on: when the minute is over."""
    monkeypatch.setitem(limits.LIMITS, "signed", 2)
    with site():
        sent = [event("instance.deleted", timestamp=NOW) for _ in range(3)]
        moment = NOW - NOW % 60 + 45.5
        answers = [
            get_receiver().receive(each.headers, each.body, source="", now=moment) for each in sent
        ]
        assert [(each.status, each.retry_after) for each in answers] == [
            (204, None),
            (204, None),
            (429, 15),
        ]
        monkeypatch.setattr("instance_lookup.endpoints.webhook.time", lambda: moment)
        response = deliver(event("instance.deleted", timestamp=NOW), **{})
        assert response.status_code == 204  # of another source, 127.0.0.1


def test_forged_between_real_ones(caplog: pytest.LogCaptureFixture) -> None:
    """Who forges now and then does not have a line written each time."""
    with site(), logged(caplog) as lines:
        for _ in range(5):
            receive(event(secret=OTHER, timestamp=NOW))
            receive(event("instance.deleted", timestamp=NOW))
    assert len(lines) == 2


def test_no_line_of_django_for_each_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """Django, which would log and mail each answer above 400, is kept from it."""
    with site(), faulty_cache() as faults, caplog.at_level(logging.DEBUG):
        deliver(event(secret=OTHER))
        Client().get(URL)
        faults.fail()
        deliver(event())
    assert not [record for record in caplog.records if record.name.startswith("django")]


def test_no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the secret nor the signature that would have been right is shown."""
    sent = event(secret=OTHER)
    with site(), caplog.at_level(logging.DEBUG):
        response = deliver(sent)
        shown = caplog.text + response.content.decode() + repr(get_resolver().settings)
    for secret in (SECRET, SECRET[6:], OTHER[6:], sent.headers["webhook-signature"]):
        assert secret not in shown


def test_lookups_of_another_user_go_on(service: Service) -> None:
    """An update changes nothing about who may have the configuration."""
    with site(service=service):
        deliver(event())
        assert get_resolver().resolve(asks()).config.instance_id == "acme"
