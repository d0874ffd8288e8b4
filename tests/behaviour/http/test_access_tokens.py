"""Tokens that expire: fetched in time, by one thread, again after a 401, and shown nowhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import requests

from instance_lookup.backends import access_tokens
from instance_lookup.backends.access_tokens import EARLY, PAUSE, AccessTokens, NoToken
from instance_lookup.backends.base import Document, Page
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.conf import build_settings
from instance_lookup.exceptions import ConfigServiceUnavailable
from instance_lookup.operations.doctor.findings import Level
from instance_lookup.operations.doctor.transport import credential_probes, reach
from instance_lookup.operations.doctor.wire import Wire
from instance_lookup.push.stream_connection import CREDENTIAL, StreamLost, connect
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import query
from tests.support.servers import Answer, Received, ScriptedServer
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.resilience.deadline import Deadline

SECRET = "very-secret-token"


class Issuer:
    """Gives out numbered tokens that are good for an hour, or does as ``fails`` says."""

    def __init__(self) -> None:
        self.given = 0
        self.life: Any = 3600.0
        self.fails: Callable[[Deadline], Any] = lambda deadline: None
        self.deadlines: list[Deadline] = []

    def __call__(self, deadline: Deadline) -> tuple[str, float]:
        self.deadlines.append(deadline)
        self.fails(deadline)
        self.given += 1
        return f"{SECRET}-{self.given}", self.life

    @property
    def last(self) -> str:
        return f"Bearer {SECRET}-{self.given}"


class Service(ScriptedServer):
    """Accepts one token at a time: the last one given, unless ``accepted`` says another."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(self._answer)
        self.accepted: Callable[[], str] = lambda: issuer.last

    def _answer(self, request: Received) -> Answer:
        if request.headers["Authorization"] != self.accepted():
            return Answer(401)
        return Answer(200, b'{"instances": []}' if request.path == "/instances" else b"{}")

    @property
    def tokens(self) -> list[str]:
        return [str(each.headers["Authorization"])[-1] for each in self.received]


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def service(issuer: Issuer) -> Iterator[Service]:
    with Service(issuer) as service:
        yield service


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the tokens, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(access_tokens, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When threads looked at the clock: as they come, as they begin to wait, as they fetch."""
    looks: list[float] = []

    def look() -> float:
        looks.append(monotonic())
        return looks[-1]

    monkeypatch.setattr(access_tokens, "monotonic", look)
    return looks


def authorized_at_once(tokens: AccessTokens, number: int) -> list[str]:
    """Return the header that each of so many threads gets, or its error."""

    def authorize(_: int) -> str:
        request = requests.Request("GET", "http://x").prepare()
        try:
            tokens.authorize(request, query(30).deadline)
        except NoToken as exc:
            return str(exc)
        return str(request.headers["Authorization"][:])

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(authorize, range(number)))


@pytest.fixture
def backend(issuer: Issuer, service: Service) -> HttpConfigService:
    tokens = AccessTokens(issuer)

    class WithTokens(HttpConfigService):
        def make_session(self) -> requests.Session:
            session = super().make_session()
            session.auth = tokens
            return session

    return WithTokens(url=service.url)


def test_token_is_fetched_once(
    backend: HttpConfigService, service: Service, issuer: Issuer
) -> None:
    """One token serves all calls: instances, projects and the list."""
    assert backend.get_instance("acme", query()) == Document(b"{}")
    assert backend.get_project("web", query()) == Document(b"{}")
    assert backend.list_instances(query()) == Page(())
    assert service.tokens == ["1", "1", "1"]
    assert issuer.given == 1


def test_token_is_replaced_before_it_ends(
    backend: HttpConfigService, issuer: Issuer, moment: list[float]
) -> None:
    """From a minute before its end on the next call fetches another."""
    backend.get_instance("acme", query())
    moment[0] += issuer.life - EARLY - 1
    backend.get_instance("acme", query())
    assert issuer.given == 1
    moment[0] += 2
    backend.get_instance("acme", query())
    assert issuer.given == 2


def test_short_token_is_used_for_four_fifths_of_its_life(
    backend: HttpConfigService, issuer: Issuer, moment: list[float]
) -> None:
    """A token of ten seconds is not replaced before each call."""
    issuer.life = 10
    for step in (0, 7.9):
        moment[0] += step
        backend.get_instance("acme", query())
    assert issuer.given == 1
    moment[0] += 0.2
    backend.get_instance("acme", query())
    assert issuer.given == 2


def test_early_failure_costs_nothing(
    backend: HttpConfigService, service: Service, issuer: Issuer, moment: list[float]
) -> None:
    """While the token is good a failure is not seen, and the issuer is left alone for a while."""
    backend.get_instance("acme", query())
    moment[0] += issuer.life - EARLY + 1
    issuer.fails = refuse
    for _ in range(3):
        assert backend.get_instance("acme", query()) == Document(b"{}")
    assert len(issuer.deadlines) == 2
    moment[0] += PAUSE
    backend.get_instance("acme", query())
    assert len(issuer.deadlines) == 3
    assert service.tokens == ["1"] * 5


def test_early_fetch_leaves_time_for_the_call(
    backend: HttpConfigService, issuer: Issuer, moment: list[float]
) -> None:
    """A slow issuer takes half of the time at most, while there is a token that is good."""
    backend.get_instance("acme", query())
    moment[0] += issuer.life - EARLY + 1
    backend.get_instance("acme", query(100.0))
    assert issuer.deadlines[-1].remaining() <= 50


def test_token_is_used_while_another_thread_replaces_it(
    backend: HttpConfigService, issuer: Issuer, moment: list[float]
) -> None:
    """Only the thread that fetches waits for the issuer."""
    backend.get_instance("acme", query())
    moment[0] += issuer.life - EARLY + 1
    asked, go_on = Event(), Event()

    def wait(deadline: Deadline) -> None:
        asked.set()
        assert go_on.wait(30)

    issuer.fails = wait
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(backend.get_instance, "acme", query(60))
        assert asked.wait(30)
        assert backend.get_instance("acme", query()) == Document(b"{}")
        go_on.set()
        assert first.result(30) == Document(b"{}")
    assert issuer.given == 2


def test_threads_that_come_together_share_a_token(issuer: Issuer, looks: list[float]) -> None:
    """Twenty calls without a token fetch one."""
    issuer.fails = lambda deadline: wait_until(lambda: len(looks) == 20 * 2 + 1)
    tokens = AccessTokens(issuer)
    assert authorized_at_once(tokens, 20) == [issuer.last] * 20
    assert issuer.given == 1


def test_thread_that_is_late_takes_what_another_has_fetched(issuer: Issuer) -> None:
    """A thread that saw the old token, and gets its turn after the new one came, fetches none."""
    tokens, deadline = AccessTokens(issuer), query().deadline
    old = tokens._another(tokens._held, deadline)
    new = tokens._another_early(old, deadline)
    assert tokens._another_early(old, deadline) is new
    assert issuer.given == 2


def test_threads_that_come_together_share_a_failure(issuer: Issuer, looks: list[float]) -> None:
    """A broken issuer is asked once for all who wait at the time, not by one after the other."""

    def fail(deadline: Deadline) -> None:
        wait_until(lambda: len(looks) == 5 * 2 + 1)
        raise OSError(SECRET)

    issuer.fails = fail
    assert authorized_at_once(AccessTokens(issuer), 5) == ["no access token: OSError"] * 5
    assert len(issuer.deadlines) == 1


def test_call_that_has_little_time_fails_alone(issuer: Issuer, looks: list[float]) -> None:
    """What one call had no time for, another one that waits meanwhile has: each has its own."""
    tokens = AccessTokens(issuer)

    def wait(deadline: Deadline) -> None:
        if len(issuer.deadlines) == 1:
            waiting = pool.submit(authorized_at_once, tokens, 1)
            wait_until(lambda: len(looks) == 2 * 2 + 1 and not deadline.remaining())
            given.append(waiting)
            raise TimeoutError

    given: list[Any] = []
    issuer.fails = wait
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(NoToken, match="TimeoutError"):
            tokens.authorize(requests.Request("GET", "http://x").prepare(), query(0.1).deadline)
        assert given[0].result(30) == [issuer.last]


def test_thread_waits_for_another_one_no_longer_than_it_may(
    backend: HttpConfigService, issuer: Issuer
) -> None:
    """Each call keeps to its own deadline while another one waits for the issuer."""
    asked, go_on = Event(), Event()

    def wait(deadline: Deadline) -> None:
        asked.set()
        assert go_on.wait(30)

    issuer.fails = wait
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(backend.get_instance, "acme", query(60))
        assert asked.wait(30)
        with within(0.1), pytest.raises(ConfigServiceUnavailable, match="in time") as caught:
            backend.get_instance("acme", query(0.1))
        go_on.set()
        assert first.result(30) == Document(b"{}")
    assert caught.value.details["reason"] == "credential"


# --- a token that the service refuses -----------------------------------------------------------


def test_refused_token_is_replaced_and_the_call_made_again(
    backend: HttpConfigService, service: Service, issuer: Issuer
) -> None:
    """A token that was withdrawn before its time costs one more call, and no answer."""
    backend.get_instance("acme", query())
    service.accepted = lambda: f"Bearer {SECRET}-2"
    assert backend.get_instance("acme", query()) == Document(b"{}")
    assert backend.get_instance("acme", query()) == Document(b"{}")
    assert service.tokens == ["1", "1", "2", "2"]


def test_second_refusal_is_final(
    backend: HttpConfigService, service: Service, issuer: Issuer
) -> None:
    """One new token a call: a service that accepts none is not asked for ever."""
    service.accepted = lambda: "none"
    with pytest.raises(ConfigServiceUnavailable) as caught:
        backend.get_instance("acme", query())
    assert caught.value.details["reason"] == "credential"
    assert caught.value.details["status"] == 401
    assert service.tokens == ["1", "2"]


def test_refused_token_that_another_thread_has_replaced(issuer: Issuer) -> None:
    """Of two calls that were refused with the same token one fetches another."""
    tokens, deadline = AccessTokens(issuer), query().deadline
    calls = [requests.Request("GET", "http://x").prepare() for _ in range(2)]
    for each in calls:
        tokens.authorize(each, deadline)
    for each in calls:
        tokens.reauthorize(each, deadline)
    assert {each.headers["Authorization"] for each in calls} == {issuer.last}
    assert issuer.given == 2


# --- no token -----------------------------------------------------------------------------------


def refuse(deadline: Deadline) -> None:
    raise LookupError(SECRET)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LookupError(SECRET), "no access token: LookupError"),
        (requests.ConnectionError(SECRET), "no access token: ConnectionError"),
        (None, "no access token: TypeError"),
        ((None, 60), "no access token: TypeError"),
        ((SECRET, "soon"), "no access token: ValueError"),
        ((SECRET, "nan"), "no access token: ValueError"),
        (("", 60), "no access token: a header cannot carry it"),
        ((SECRET + "\n", 60), "no access token: a header cannot carry it"),
    ],
    ids=[
        "raises",
        "no connection",
        "nothing",
        "no text",
        "no number",
        "no such number",
        "empty",
        "line break",
    ],
)
def test_no_token_is_no_answer(service: Service, answer: Any, error: str) -> None:
    """The error says what failed, as an error of the credential, and shows no secret."""

    def fetch(deadline: Deadline) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    class WithTokens(HttpConfigService):
        def make_session(self) -> requests.Session:
            session = super().make_session()
            session.auth = AccessTokens(fetch)
            return session

    with pytest.raises(ConfigServiceUnavailable) as caught:
        WithTokens(url=service.url).get_instance("acme", query())
    assert caught.value.details == {
        "reason": "credential",
        "error": error,
        "instance_id": "acme",
    }
    assert SECRET not in shown(caught.value)
    assert service.connections == 0


def test_frames_of_an_error_show_no_token() -> None:
    """A token that came with a life that is no number is hidden where the error is raised."""
    tokens = AccessTokens(lambda deadline: (SECRET, "soon"))  # type: ignore[arg-type, return-value]
    with pytest.raises(NoToken) as caught:
        tokens.authorize(requests.Request("GET", "http://x").prepare(), query().deadline)
    frames = [each.frame.f_locals for each in caught.traceback]
    assert SECRET not in f"{frames[1:]}"  # the first one is this test


def test_token_is_not_shown(backend: HttpConfigService, issuer: Issuer) -> None:
    """Neither the tokens nor a request that carries one show it."""
    with backend.make_session() as session:
        request = session.prepare_request(requests.Request("GET", backend.location))
        assert isinstance(session.auth, AccessTokens)
        session.auth.authorize(request, query().deadline)
        assert SECRET not in f"{session.auth!r} {request.headers!r} {session.auth._held!r}"
        assert request.headers["Authorization"] == issuer.last


# --- other calls of the same session ------------------------------------------------------------


def test_stream_is_asked_for_with_a_token(
    backend: HttpConfigService, service: Service, issuer: Issuer
) -> None:
    """The stream has the same tokens, and says when there is none."""
    settings = build_settings(
        {"config_service_url": service.url, "config_service_stream": "/stream"}
    )
    with pytest.raises(StreamLost, match="Content-Type"):
        connect(backend, settings, None)
    assert service.tokens == ["1"]
    issuer.fails, service.accepted = refuse, lambda: "none"
    with pytest.raises(StreamLost, match="no access token: LookupError") as lost:
        connect(backend, settings, None)
    assert lost.value.cause is CREDENTIAL


def test_doctor_sends_a_wrong_token(backend: HttpConfigService, service: Service) -> None:
    """A wrong token that the doctor tries is sent, and not replaced by a right one."""
    wire = Wire(backend, build_settings({"config_service_url": service.url}))
    assert wire.sends_credential
    assert wire.look("acme").status == 200
    found = [(each.probe, each.seen) for each in credential_probes(wire, "acme")]
    assert found == [("no credential", "refused (401)"), ("wrong credential", "refused (401)")]
    assert service.tokens == ["1", "e", "e"]


def test_doctor_says_that_there_is_no_token(backend: HttpConfigService, issuer: Issuer) -> None:
    """It is the credential that is missing, not the service."""
    issuer.fails = refuse
    wire = Wire(backend, build_settings({"config_service_url": backend.location}))
    *_, last = reach(wire, "unknown", None)
    assert (last.probe, last.level) == ("credential", Level.ERROR)
    assert last.seen == "no access token: LookupError"
