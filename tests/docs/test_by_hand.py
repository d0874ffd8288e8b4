"""docs/explanation/by-hand.md: each line of its table, by both lookups and a real service."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.views.debug import ExceptionReporter

from instance_lookup import (
    ConfigServiceUnavailable,
    LookupContext,
    get_resolver,
    resolve_instance,
)
from instance_lookup.testing import faulty_cache
from tests.support.documents import ACME, Site, blocks, config_service, table
from tests.support.servers import Answer, drip
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from django.http import HttpRequest

    from tests.support.servers import Received, ScriptedServer

pytestmark = pytest.mark.django_db

PAGE = "by-hand.md"
ROWS = {what: (by_hand, ours) for what, by_hand, ours in table(PAGE, "What happens")}
CROWD, SOME = 20, 10
KEY = ACME["api_keys"]["render"]
SOLD = Answer(200, json.dumps({**ACME, "metadata": {"owner": "2"}}).encode())
STATUS = {BadRequest: 400, PermissionDenied: 403, Http404: 404, ConfigServiceUnavailable: 503}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[None]:
    with Site(tmp_path, [*blocks("README.md"), *blocks(PAGE)]).running():
        yield


@pytest.fixture
def by_hand(site: None) -> ModuleType:
    return import_module("mysite.by_hand")


@pytest.fixture
def service(site: None) -> Iterator[ScriptedServer]:
    """The Config Service of both."""
    with (
        config_service() as server,
        override_settings(
            CONFIG_SERVICE_URL=server.url,
            CONFIG_SERVICE_TOKEN="token",
            INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": server.url},
        ),
    ):
        yield server
        import_module("mysite.by_hand").session.close()


@pytest.fixture
def lookups(by_hand: ModuleType, service: ScriptedServer) -> tuple[Callable[..., Any], ...]:
    """What a view calls, by hand and with the package."""
    return by_hand.get_instance_config, ours


def ours(request: HttpRequest) -> Any:
    return resolve_instance(LookupContext.from_request(request))


def of_olga(instance_id: str = "acme") -> HttpRequest:
    """Return a request of the owner, for which no database is asked."""
    request = RequestFactory().get("/", headers={"x-instance-id": instance_id})
    request.user = User(pk=1, username="olga")
    request.user._state.adding = False
    return request


def outcome(lookup: Callable[..., Any], instance_id: str = "acme") -> int:
    """Return the status that a caller gets."""
    try:
        lookup(of_olga(instance_id))
    except Exception as exc:  # noqa: BLE001  # what it is, is what is asked
        return next((status for kind, status in STATUS.items() if isinstance(exc, kind)), 500)
    return 200


def has_received(service: ScriptedServer, count: int) -> bool:
    return len(service.received) >= count


def calls(count: int) -> str:
    return f"{count} call{'s' if count > 1 else ''} of the service"


def expire() -> None:
    """Let the copies of both become stale."""
    cache.delete("instance:acme")
    get_resolver().cache.expire("acme")


def test_crowd_for_an_instance_that_is_not_cached(
    lookups: tuple[Callable[..., Any], ...], service: ScriptedServer
) -> None:
    """By hand each request asks the service."""
    shown = ROWS[f"{CROWD} requests at once want an instance that is not cached"]
    answer, released = service.answers["/instances/acme"], Event()  # type: ignore[index]

    def answer_later(request: Received) -> Any:
        released.wait(30)
        return answer

    service.answers = answer_later
    for lookup, cell in zip(lookups, shown, strict=True):
        released.clear()
        service.received.clear()
        with ThreadPoolExecutor(CROWD) as pool:
            crowd = [pool.submit(outcome, lookup) for _ in range(CROWD)]
            wait_until(partial(has_received, service, int(cell.split()[0])))
            released.set()
            assert {request.result() for request in crowd} == {200}
        assert calls(len(service.received)) == cell


@pytest.mark.parametrize(
    ("what", "instance_id", "status"),
    [
        (f"the service is down, and {SOME} requests come for a stale copy", "acme", 200),
        (f"{SOME} requests name an id that does not exist", "globex", 404),
    ],
)
def test_calls_of_the_service(
    what: str,
    instance_id: str,
    status: int,
    lookups: tuple[Callable[..., Any], ...],
    service: ScriptedServer,
) -> None:
    """By hand a failure, and an unknown id, are asked for again and again."""
    assert [outcome(lookup) for lookup in lookups] == [200, 200]
    expire()
    service.answers = Answer(503 if status == 200 else 404)
    seen = []
    for lookup in lookups:
        service.received.clear()
        assert {outcome(lookup, instance_id) for _ in range(SOME)} == {status}
        seen.append(calls(len(service.received)))
    assert tuple(seen) == ROWS[what]


def test_service_that_sends_a_byte_now_and_then(
    by_hand: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout of requests is for each read, and ours for the whole lookup."""
    body, timeout, interval = json.dumps(ACME).encode(), 1.0, 0.3
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    service.answers = drip(body[-8:], first=head + body[:-8], interval=interval)
    monkeypatch.setattr(by_hand, "TIMEOUT", timeout)
    begun = monotonic()
    assert outcome(by_hand.get_instance_config) == 200
    assert monotonic() - begun > 2 * timeout
    options = {"CONFIG_SERVICE_URL": service.url, "CONFIG_SERVICE_TIMEOUT": timeout}
    with override_settings(INSTANCE_LOOKUP=options):
        assert outcome(ours) == 503
    assert ROWS["the service sends a byte now and then"] == (
        "longer than the timeout",
        "bounded by the timeout",
    )


def test_tenant_that_is_revoked_during_a_fetch(
    lookups: tuple[Callable[..., Any], ...], by_hand: ModuleType, service: ScriptedServer
) -> None:
    """By hand the answer that was on its way is stored after the copy was dropped."""
    before, released = service.answers["/instances/acme"], Event()  # type: ignore[index]

    def answer_later(request: Received) -> Any:
        released.wait(30)
        return before

    seen = []
    revoke = by_hand.forget, get_resolver().invalidate_cache
    for lookup, forget in zip(lookups, revoke, strict=True):
        released.clear()
        service.received.clear()
        service.answers = answer_later
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(outcome, lookup)
            wait_until(lambda: service.received)
            forget("acme")
            service.answers = SOLD
            released.set()
            first.result()
        seen.append(f"{outcome(lookup)} for the old owner")
    assert tuple(seen) == ROWS["a tenant is revoked while a request fetches it"]


def test_gateway_that_answers_404(
    lookups: tuple[Callable[..., Any], ...], service: ScriptedServer
) -> None:
    """A page of an ingress is not the service's word that the instance is gone."""
    assert [outcome(lookup) for lookup in lookups] == [200, 200]
    expire()
    service.answers = Answer(404, b"<h1>Not Found</h1>", {"Content-Type": "text/html"})
    statuses = [outcome(lookup) for lookup in lookups]
    assert cache.get("stale:acme") is None
    assert ROWS["the gateway in front of the service answers 404 during a deployment"] == (
        f"{statuses[0]}, and the copy is gone",
        f"{statuses[1]}, from the copy",
    )


def test_id_that_is_a_path(
    lookups: tuple[Callable[..., Any], ...], service: ScriptedServer
) -> None:
    """An id must not lead to another path of the service."""
    instance_id = "../projects/website"
    outcome(lookups[0], instance_id)
    [asked] = service.received
    status = outcome(lookups[1], instance_id)
    assert service.received == [asked]
    assert ROWS[f"the header says `{instance_id}`"] == (
        f"the service is asked for `{asked.path}`",
        str(status),
    )


def test_cache_that_is_down(lookups: tuple[Callable[..., Any], ...]) -> None:
    """By hand the cache's error is the site's."""
    with faulty_cache("default") as faults:
        faults.fail()
        seen = tuple(str(outcome(lookup)) for lookup in lookups)
    assert seen == ROWS["the cache is down"]


def test_error_page_with_local_variables(lookups: tuple[Callable[..., Any], ...]) -> None:
    """A debug page, like an error tracker, prints the variables of each frame."""
    seen = []
    for lookup in lookups:
        config = lookup(of_olga())
        try:
            raise ValueError(len(config.__class__.__name__))
        except ValueError:
            page = ExceptionReporter(None, *sys.exc_info()).get_traceback_html()
        assert "config" in page
        seen.append("shows the API keys" if KEY in page else "shows no API key")
    assert tuple(seen) == ROWS["an error page or tracker prints local variables"]


def test_shared_http_cache(by_hand: ModuleType, service: ScriptedServer) -> None:
    """Without ``Vary`` a cache in front of the site gives one tenant's page to the next one."""
    import_module("mysite.urls").urlpatterns.append(path("by-hand/", by_hand.where))
    client = Client(headers={"x-instance-id": "acme"})
    client.force_login(User.objects.create_user("olga", pk=1))
    answers = [client.get(url) for url in ("/by-hand/", "/where/")]
    assert answers[0].json() == answers[1].json() == {"instance": "acme", "beta": True}
    varied = [answer.headers["Vary"] for answer in answers]
    assert "X-Instance-ID" not in varied[0]
    assert ROWS["a shared HTTP cache is in front of the site"] == (
        "no `Vary`",
        "`Vary: X-Instance-ID, X-Project-ID`",
    )
    assert "X-Instance-ID, X-Project-ID" in varied[1]


def test_each_line_has_a_test() -> None:
    """A line of the table that nothing tests would be a claim."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [what for what in ROWS if what.strip("`")[-19:] not in source] == []


def test_table_of_the_readme() -> None:
    """The README has lines of the page, to the letter."""
    lines = table("README.md", "What happens")
    assert len(lines) > 5
    assert [line for line in lines if ROWS[line[0]] != tuple(line[1:])] == []
