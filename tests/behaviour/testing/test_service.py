from __future__ import annotations

import json
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import requests

from instance_lookup import ConfigServiceUnavailable, LookupContext, LookupUser, resolve_instance
from instance_lookup.backends.base import Document, NotModified
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.exceptions import AccessDenied
from instance_lookup.testing import Answer, FakeConfigService
from instance_lookup.testing.servers import reset
from tests.behaviour.http.queries import query
from tests.support.insides import disconnect
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACME = {"metadata": {"owner": "olga"}, "r2_bucket": "first"}


@pytest.fixture
def service() -> Iterator[FakeConfigService]:
    with FakeConfigService({"acme": ACME}, {"shop": "acme"}) as service:
        yield service


@pytest.fixture
def backend(service: FakeConfigService) -> Iterator[HttpConfigService]:
    backend = HttpConfigService(url=service.url)
    yield backend
    disconnect(backend)


@pytest.fixture
def get(service: FakeConfigService) -> Iterator[Callable[..., requests.Response]]:
    def get(path: str, method: str = "GET", **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return session.request(method, service.url + path, headers=named, timeout=5)

    with requests.Session() as session:
        session.trust_env = False
        yield get


def reason(backend: HttpConfigService, seconds: float = 5.0) -> str:
    with pytest.raises(ConfigServiceUnavailable) as caught:
        backend.get_instance("acme", query(seconds))
    return str(caught.value.details["reason"])


def test_settings_make_the_site_ask_it(service: FakeConfigService, settings: Any) -> None:
    """``service.settings`` are all that a site needs; requests can be looked at afterwards."""
    settings.INSTANCE_LOOKUP = service.settings
    context = LookupContext(LookupUser("olga"), instance_id="acme")
    assert resolve_instance(context).r2_bucket == "first"
    (asked,) = service.requests
    assert (asked.method, asked.path) == ("GET", "/instances/acme")
    assert asked.headers["X-User-ID"] == "olga"


def test_instances_may_be_changed(service: FakeConfigService, backend: HttpConfigService) -> None:
    """Instances may be changed at any time, and get another tag then."""
    first = backend.get_instance("acme", query())
    assert isinstance(first, Document)
    assert isinstance(backend.get_instance("acme", query(etag=first.etag)), NotModified)
    service.instances["acme"] = {"r2_bucket": "second"}
    second = backend.get_instance("acme", query(etag=first.etag))
    assert isinstance(second, Document)
    assert json.loads(second.body) == {"instance_id": "acme", "r2_bucket": "second"}


@pytest.mark.parametrize("held", ["W/{}", '"x", {}', "*"])
def test_etag_is_compared_weakly(get: Callable[..., requests.Response], held: str) -> None:
    """``If-None-Match`` may be a list, weak tags or ``*``, as RFC 9110 has it."""
    etag = get("/instances/acme").headers["ETag"]
    answer = get("/instances/acme", If_None_Match=held.format(etag))
    assert (answer.status_code, answer.headers["ETag"], answer.content) == (304, etag, b"")


def test_headers_of_every_answer(get: Callable[..., requests.Response]) -> None:
    """Each answer has ``no-store`` and a request id."""
    for path, kind in (("/instances/acme", "application/json"), ("/x", "application/problem+json")):
        answer = get(path, X_Request_ID="mine")
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert (answer.headers["X-Request-ID"], answer.headers["Content-Type"]) == ("mine", kind)
    assert len(get("/instances", X_Request_ID="a b").headers["X-Request-ID"]) == 32


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/instances/nobody", "GET", 404),
        ("/projects/nobody", "GET", 404),
        ("/elsewhere", "GET", 404),
        ("/instances/acme", "DELETE", 405),
    ],
)
def test_errors_are_problems(
    get: Callable[..., requests.Response], path: str, method: str, status: int
) -> None:
    """Errors are problem details (RFC 9457) with the status."""
    answer = get(path, method)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_token() -> None:
    """A wrong or missing token gets a 401."""
    with FakeConfigService({"acme": ACME}, token="ours") as service:
        assert service.settings["CONFIG_SERVICE_TOKEN"] == "ours"
        for token, expected in (("ours", None), ("theirs", "credential"), (None, "credential")):
            backend = HttpConfigService(url=service.url, token=token)
            if expected is None:
                assert isinstance(backend.get_instance("acme", query()), Document)
            else:
                assert reason(backend) == expected
            disconnect(backend)


def test_refused_user(service: FakeConfigService, backend: HttpConfigService) -> None:
    """``refuse`` denies one user the instance and its projects, also a non-ASCII user id."""
    service.refuse("jörg", "acme")
    service.recover()
    assert isinstance(backend.get_instance("acme", query(user_id="olga")), Document)
    with pytest.raises(AccessDenied):
        backend.get_instance("acme", query(user_id="jörg"))
    with pytest.raises(AccessDenied):
        backend.get_project("shop", query(user_id="jörg"))


def test_status(service: FakeConfigService, backend: HttpConfigService) -> None:
    """``fail`` sets status and Retry-After until ``recover``."""
    service.fail(429, retry_after=7)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        backend.get_instance("acme", query())
    assert (caught.value.retry_after, caught.value.details["status"]) == (7, 429)
    service.fail()
    assert reason(backend) == "status"
    service.recover()
    assert isinstance(backend.get_instance("acme", query()), Document)


FAULTS: dict[str, tuple[Callable[[FakeConfigService], object], str]] = {
    "reset": (lambda service: service.reset(), "unreachable"),
    "truncated": (lambda service: service.truncate(), "unreachable"),
    "redirect": (lambda service: service.redirect("http://127.0.0.1:9/"), "redirect"),
    "html": (lambda service: service.answer(Answer(204)), "rejected"),
    "stopped": (lambda service: service.stop(), "unreachable"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(service: FakeConfigService, backend: HttpConfigService, name: str) -> None:
    """Each fault gives the client the reason that belongs to it."""
    act, seen = FAULTS[name]
    act(service)
    assert reason(backend) == seen


@pytest.mark.parametrize("verb", ["hang", "drip", "delay"])
def test_fault_that_takes_time(
    service: FakeConfigService, backend: HttpConfigService, verb: str
) -> None:
    """A fault that takes time ends at the client's deadline, and stopping the server is quick."""
    getattr(service, verb)(*([60] if verb == "delay" else []))
    assert reason(backend, 0.1) == "timeout"
    with within(1):
        service.stop()


def test_drip_comes_to_an_end(service: FakeConfigService, backend: HttpConfigService) -> None:
    """A dripping answer is complete in the end."""
    service.drip(interval=0.0001)
    answer = backend.get_instance("acme", query())
    assert isinstance(answer, Document)
    assert json.loads(answer.body)["r2_bucket"] == "first"


def test_delay_goes_with_faults(service: FakeConfigService, backend: HttpConfigService) -> None:
    """A delay can be combined with a fault, and with a proper answer."""
    service.delay(0.05)
    began = monotonic()
    assert isinstance(backend.get_instance("acme", query()), Document)
    service.reset()
    assert reason(backend) == "unreachable"
    assert monotonic() - began >= 0.1


def test_sequence(service: FakeConfigService, backend: HttpConfigService) -> None:
    """``sequence`` gives one script to each request, then proper answers follow."""
    service.sequence(500, reset(), None, Answer(429))
    assert reason(backend) == "status"
    assert reason(backend) == "unreachable"
    assert isinstance(backend.get_instance("acme", query()), Document)
    assert reason(backend) == "rate_limited"
    assert isinstance(backend.get_instance("acme", query()), Document)


def test_sequence_of_a_reset_after_an_answer(
    service: FakeConfigService, backend: HttpConfigService
) -> None:
    """A connection that was kept is replaced once, which takes the next of the sequence."""
    service.sequence(None, reset(), Answer(429), reset())
    assert isinstance(backend.get_instance("acme", query()), Document)
    assert reason(backend) == "rate_limited"
    assert reason(backend) == "unreachable"


def test_port_may_be_given(service: FakeConfigService) -> None:
    """A service can start again on the port that an earlier one had."""
    service.stop()
    with FakeConfigService(port=service.port) as again:
        assert again.url == service.url


def test_nonsense_ends_the_connection(service: FakeConfigService) -> None:
    """A request that is not HTTP gets no answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100) == b""
    assert service.requests == []
