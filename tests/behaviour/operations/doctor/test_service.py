"""What is found about a service: fine where it keeps the contract, and by name where not."""

from __future__ import annotations

import json
import socket
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from instance_lookup.backends.http import HttpConfigService
from instance_lookup.resilience.deadline import Deadline
from tests.behaviour.operations.doctor.support import (
    CALLS,
    JSON,
    SECRET,
    TOKEN,
    as_json,
    at,
    document,
    examined,
    levels,
    unknown,
)
from tests.support.servers import Answer, Fault, ScriptedServer, free_port, mute, redirect, reset

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from instance_lookup.operations.doctor.findings import Finding
    from tests.behaviour.operations.doctor.support import Service
    from tests.support.servers import Received, Script


def change(settings: Settings, **values: Any) -> None:
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **values}


def test_good_service_has_nothing_to_mend(service: Service) -> None:
    """A service that keeps the contract, with a credential, is right in every probe."""
    found = examined(deep=True)
    assert levels(found, "warning") == levels(found, "error") == set()
    assert levels(found, "skipped") <= {"tls", "certificate", "timeouts", "servers", "pub/sub"}
    assert found["latency"].figures["calls"] == CALLS
    assert found["users"].figures["users"] == 4
    assert found["all documents"].figures["documents"] == 3


def test_service_is_only_asked(service: Service) -> None:
    """Nothing is sent but GET, and no instance is asked for but those of the list."""
    examined(deep=True)
    assert {request.method for request in service.server.received} == {"GET"}


def test_probes_have_the_same_names_whatever_is_found(service: Service) -> None:
    """Each probe has its line also where the service is down, or an option is missing."""
    all_names = examined(deep=True).keys()
    assert examined().keys() == all_names
    service.server.stop()
    assert examined().keys() == all_names


def test_deep_probes_are_skipped_by_name(service: Service) -> None:
    """Without --deep no call is made without our credential."""
    found = examined()
    assert found["no credential"].seen == "only with --deep"
    assert {r.headers["Authorization"] for r in service.server.received} == {f"Bearer {TOKEN}"}


# -- the way to the service ------------------------------------------------------------------------


def only_error(probe: str) -> Finding:
    """Return the one error, behind which all probes of the service are skipped."""
    found = examined()
    assert levels(found, "error") == {probe}
    assert found["document"].seen == found["latency"].seen == f"see {probe}"
    assert found["document"].level == "skipped"
    assert found["round trip"].level == "ok"
    return found[probe]


def test_name_that_is_not_found(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without an address is one error."""

    def refuse(*args: object) -> None:
        raise socket.gaierror(-2, SECRET)

    change(settings, CONFIG_SERVICE_URL="http://config.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert only_error("name").seen == "config.invalid has no address that can be found (gaierror)"


def test_many_addresses_are_cut(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with many addresses four are shown."""
    address = socket.getaddrinfo("127.0.0.1", service.server.port, 0, socket.SOCK_STREAM)[0]
    others = [(*address[:4], (f"127.0.0.{last}", service.server.port)) for last in range(2, 7)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [address, *others])
    assert examined()["name"].seen.endswith("127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4 and 2 more")


def test_port_where_nothing_listens(service: Service, settings: Settings) -> None:
    """A port that refuses is one error."""
    change(settings, CONFIG_SERVICE_URL=f"http://127.0.0.1:{free_port()}")
    assert "does not answer (ConnectionRefusedError)" in only_error("connect").seen


def test_service_that_says_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that takes the request and never answers is one error, in time."""
    soon = Mock(after=lambda seconds: Deadline.after(0.1))
    monkeypatch.setattr("instance_lookup.operations.doctor.wire.Deadline", soon)
    service.rule = lambda request: mute()
    assert only_error("answer").seen == "no answer to a request (TimeoutError)"


def test_service_that_breaks_off(service: Service) -> None:
    """A connection that is reset is one error."""
    service.rule = lambda request: reset()
    assert "no answer to a request" in only_error("answer").seen


@pytest.mark.parametrize(
    ("headers", "told"), [({}, ""), ({"Retry-After": "30"}, ", and asks to be left alone")]
)
def test_service_that_is_down(service: Service, headers: dict[str, str], told: str) -> None:
    """A 503 to everything is one error."""
    service.rule = lambda request: Answer(503, headers=headers)
    assert only_error("answer").seen.startswith(f"the service answers 503{told}")


def test_proxy_that_refuses(service: Service, settings: Settings) -> None:
    """A proxy that does not accept our user is one error, without its password."""
    with ScriptedServer(Answer(407)) as proxy:
        change(settings, CONFIG_SERVICE_PROXY=proxy.url.replace("//", f"//scout:{SECRET}@"))
        assert only_error("answer").seen == "the proxy answered 407"


def test_proxy_is_named(service: Service, settings: Settings) -> None:
    """Through a proxy it is the proxy whose name and port are looked at."""
    with ScriptedServer(service.answer) as proxy:
        change(settings, CONFIG_SERVICE_PROXY=proxy.url, CONFIG_SERVICE_URL="http://config.invalid")
        found = examined()
    assert found["name"].seen == "the proxy 127.0.0.1 is at 127.0.0.1"
    assert found["connect"].seen.startswith(f"port {proxy.port} of the proxy 127.0.0.1 answers")
    assert (found["tls"].level, found["tls"].do) == (
        "warning",
        "Use https, inside your own network as well.",
    )
    assert found["document"].level == "ok"


def test_proxy_whose_name_is_not_found(service: Service, settings: Settings) -> None:
    """The setting that is to be checked is the proxy's."""
    change(settings, CONFIG_SERVICE_PROXY="http://no..name:3128")
    assert "CONFIG_SERVICE_PROXY" in only_error("name").do


def test_redirect(service: Service) -> None:
    """A redirect is one error, which names where to without its query."""
    service.rule = lambda request: redirect(f"https://user:{SECRET}@new.example/?key={SECRET}", 301)
    seen = only_error("redirect").seen
    assert seen == "301 to https://********@new.example/?********"


def test_credential_that_is_not_accepted(service: Service, settings: Settings) -> None:
    """A token that the service refuses is one error."""
    change(settings, CONFIG_SERVICE_TOKEN="another")
    assert only_error("credential").seen == "the service does not accept ours (401)"


def test_credential_that_is_missing(service: Service, settings: Settings) -> None:
    """So is none where the service wants one."""
    change(settings, CONFIG_SERVICE_TOKEN=None)
    assert only_error("credential").do == "Set CONFIG_SERVICE_TOKEN."


def test_service_that_accepts_anything(service: Service) -> None:
    """A wrong token, or none, that is accepted is to be mended."""
    service.rule = lambda request: (
        as_json(service.instances["acme"]) if request.path == "/instances/acme" else None
    )
    found = examined(deep=True)
    for probe in ("no credential", "wrong credential"):
        assert (found[probe].level, found[probe].seen) == (
            "warning",
            "accepted: the answer is 200",
        )


def test_service_without_credentials(service: Service, settings: Settings) -> None:
    """Where none is sent and none is asked for, that is told, and to be mended by --deep only."""
    change(settings, CONFIG_SERVICE_TOKEN=None)
    service.server.answers = lambda request: (
        as_json(service.instances["acme"]) if request.path == "/instances/acme" else Answer(404)
    )
    found = examined("acme", deep=True)
    assert found["credential"].seen == "none is sent, and none is asked for"
    assert found["no credential"].level == "warning"
    assert found["wrong credential"].seen == "no Authorization header is sent"


@pytest.mark.parametrize(
    ("script", "seen"),
    [(Answer(500), "answered with 500"), (reset(), "no answer (")],
    ids=["500", "reset"],
)
def test_service_that_fails_without_our_credential(
    service: Service, script: Script, seen: str
) -> None:
    """A caller without our credential gets a 401, not an error."""
    service.rule = lambda request: (
        None if request.headers["Authorization"] == f"Bearer {TOKEN}" else script
    )
    finding = examined(deep=True)["no credential"]
    assert finding.level == "warning"
    assert finding.seen.startswith(seen)


def test_clock_that_is_wrong(service: Service) -> None:
    """A clock of the service that is minutes off is to be mended."""
    date = {**JSON, "Date": formatdate(time() - 600, usegmt=True)}
    service.rule = unknown(Answer(404, b"{}", date))
    finding = examined()["clock"]
    assert (finding.level, "behind" in finding.seen) == ("warning", True)


# -- documents -------------------------------------------------------------------------------------


def test_compression(service: Service) -> None:
    """A body that is encoded would be refused."""
    service.rule = at("/instances/acme", as_json({}, **{"Content-Encoding": "gzip"}))
    found = examined()
    assert found["compression"].seen == "the body is encoded: gzip"
    assert levels(found, "error") == {"compression", "document"}


@pytest.mark.parametrize(("most", "level"), [(105, "warning"), (90, "error"), (1000, "ok")])
def test_size(service: Service, settings: Settings, most: int, level: str) -> None:
    """A document near CONFIG_SERVICE_MAX_BYTES is to be made smaller; beyond, it is refused."""
    change(settings, CONFIG_SERVICE_MAX_BYTES=most)
    service.rule = at("/instances/acme", Answer(200, b"{}".ljust(100), JSON))
    assert examined()["size"].level == level


@pytest.mark.parametrize("script", [Answer(500), reset()], ids=["500", "reset"])
def test_document_that_is_not_given(service: Service, script: Answer | Fault) -> None:
    """Where there is no document, what needs one is skipped."""
    service.rule = at("/instances/acme", script)
    found = examined()
    assert found["document"].seen.startswith("no document of 'acme': ")
    assert {"compression", "size", "etag", "users"} <= levels(found, "skipped")
    assert found["latency"].seen.startswith(f"none of {CALLS} calls was answered")


def test_document_that_is_wrong(service: Service) -> None:
    """The field is named, its value is not."""
    service.instances["acme"]["rate_limits"] = {"render": {"rpm": SECRET}}
    finding = examined()["document"]
    assert (finding.level, "field `rate_limits[...].rpm`" in finding.seen) == ("error", True)


def test_document_in_another_spelling(service: Service) -> None:
    """An id in another spelling counts as no such id."""
    service.instances["acme"] = document("ACME")
    assert "404" in examined()["document"].do


def test_document_of_which_parts_are_left_out(service: Service) -> None:
    """Each part that a lookup leaves out is named, the first five of them."""
    flags = {f"flag-{number}": SECRET for number in range(7)}
    service.instances["acme"]["features"] = flags
    finding = examined()["document"]
    assert (finding.level, finding.figures) == ("warning", {"left_out": 7})
    assert finding.seen.endswith("features['flag-4'] and 2 more")


def test_document_without_owner(service: Service) -> None:
    """That only admins may have it is said."""
    service.instances["acme"] = document("acme", metadata={})
    found = examined()
    assert "only admins" in found["document"].seen
    assert found["users"].figures["users"] == 3


def test_document_that_the_site_itself_is_refused(service: Service) -> None:
    """A 403 to the site's own user is to be mended: warming needs the document."""
    service.rule = at("/instances/acme", Answer(403))
    found = examined()
    assert (found["document"].level, "CONFIG_SERVICE_USER_ID" in found["document"].do) == (
        "warning",
        True,
    )


def test_instance_by_name(service: Service) -> None:
    """--instance is looked at instead of the first of the list."""
    service.instances["globex"]["api_keys"] = None
    assert examined("globex")["document"].seen == "of 'globex': valid"


@pytest.mark.parametrize("name", ["no such id", "../acme"])
def test_instance_that_is_no_id(service: Service, name: str) -> None:
    """A name that is no id is said, and nothing is asked for by it."""
    found = examined(name)
    assert found["document"].level == "error"
    assert {"users", "etag", "size"} <= levels(found, "skipped")


def test_instance_that_does_not_exist(service: Service) -> None:
    """An instance that was named and is not there is an error."""
    assert examined("hooli")["document"].level == "error"


def test_no_etag(service: Service) -> None:
    """A service without ETag is allowed."""
    service.rule = at("/instances/acme", as_json(document("acme")))
    assert examined()["etag"].level == "skipped"


def test_etag_that_is_not_honoured(service: Service) -> None:
    """An ETag for which no 304 comes is to be mended."""
    service.rule = at("/instances/acme", as_json(document("acme"), ETag='"1"'))
    finding = examined()["etag"]
    assert (finding.level, finding.seen) == (
        "warning",
        "the whole document is sent again for its own ETag",
    )


# -- users -----------------------------------------------------------------------------------------


def by_user(service: Service, answer: Any) -> None:
    """Have a service ask ``answer(user_id)`` for the answer about acme."""

    def rule(request: Received) -> Script | None:
        if request.path != "/instances/acme":
            return None
        made: Script = answer(request.headers["X-User-ID"])
        return made

    service.rule = rule


def test_answers_that_differ_by_user(service: Service) -> None:
    """A document that depends on X-User-ID would not work, and the field is named."""
    by_user(service, lambda user: as_json(document("acme", r2_bucket=str(user))))
    finding = examined()["users"]
    assert (finding.level, finding.seen) == (
        "error",
        "the site itself and a stranger get different documents, in r2_bucket",
    )


def test_answers_that_differ_by_user_and_are_no_json(service: Service) -> None:
    """Also where it cannot be said in what they differ."""
    by_user(service, lambda user: Answer(200, str(user).encode()))
    assert examined()["users"].seen == "the site itself and a stranger get different documents"


def test_answers_that_change_by_themselves(service: Service) -> None:
    """What changes from call to call is not taken for a difference of users."""
    by_user(
        service,
        lambda user: as_json(document("acme", now=len(service.server.received))),
    )
    finding = examined()["users"]
    assert (finding.level, finding.seen) == (
        "warning",
        "two calls for one instance get different documents, in now",
    )


def test_answers_that_change_and_differ(service: Service) -> None:
    """A field that differs by user is named beside one that changes by itself."""

    def answer(user: str | None) -> Answer:
        return as_json(document("acme", now=len(service.server.received), region=str(user)))

    by_user(service, answer)
    assert examined()["users"].seen.endswith("in region")


def test_users_who_are_refused(service: Service) -> None:
    """A 403 may depend on the user."""
    good = as_json(document("acme"))
    by_user(service, lambda user: Answer(403) if user and user != "u1" else good)
    finding = examined()["users"]
    assert (finding.level, finding.figures) == ("ok", {"users": 2})


def test_404_that_depends_on_the_user(service: Service) -> None:
    """A 404 may not: it counts for all."""
    good = as_json(document("acme"))
    by_user(service, lambda user: Answer(404) if user else good)
    finding = examined()["users"]
    assert (finding.level, "a 404 for one user" in finding.do) == ("error", True)


def failing_from(service: Service, number: int) -> None:
    """Have the call of that number, of those for acme, and all later ones fail."""
    calls = iter(range(1, 1_000_000))
    good = as_json(document("acme"))
    by_user(service, lambda user: good if next(calls) < number else Answer(500))


def test_user_for_whom_the_service_fails(service: Service) -> None:
    """A failure may have to do with the user, or not: it is to be looked into."""
    good = as_json(document("acme"))
    by_user(service, lambda user: Answer(500) if user else good)
    finding = examined()["users"]
    assert (finding.level, finding.seen) == (
        "warning",
        "a stranger gets no document: status (500)",
    )


def test_service_that_fails_in_between(service: Service) -> None:
    """Calls that fail after others did not are counted, and what needs a document is skipped."""
    failing_from(service, 3)
    found = examined()
    assert (found["latency"].level, found["latency"].figures["failed"]) == ("warning", 1)
    assert found["users"].level == found["etag"].level == "skipped"


def test_service_that_fails_while_users_are_compared(service: Service) -> None:
    """Nor is anything said about users where the last call fails."""
    # Those for the latency, how it is sent, the document, the tag, and four users; then this.
    failing_from(service, CALLS + 1 + 1 + 1 + 4 + 1)
    found = examined()
    assert (found["document"].level, found["users"].level) == ("ok", "skipped")


# -- what does not exist, and lists ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "level", "word"),
    [
        (Answer(404), "ok", "is not found"),
        (Answer(410, b"{}", JSON), "ok", "is not found"),
        (Answer(404, b"<h1>", {"Content-Type": "text/html"}), "error", "a page"),
        (Answer(403), "warning", "refused (403)"),
        (Answer(200, b"{}", JSON), "error", "like one that does"),
        (Answer(500), "error", "status (500)"),
    ],
)
def test_unknown_id(service: Service, script: Answer, level: str, word: str) -> None:
    """An id that does not exist is a 404 with JSON or nothing, for every user."""
    service.rule = unknown(script)
    found = examined()
    finding = found["unknown id"]
    assert (finding.level, word in finding.seen) == (level, True)
    assert found["credential"].level == ("warning" if script.status == 403 else "ok")


def test_projects_that_are_missing(service: Service) -> None:
    """A service without projects is right for a site that has none."""
    service.rule = unknown(Answer(404, b"<h1>", {"Content-Type": "text/html"}), "projects")
    finding = examined()["projects"]
    assert (finding.level, "ProjectIdentifier" in finding.do) == ("warning", True)


def test_projects_are_not_asked_for_without_identifier(
    service: Service, settings: Settings
) -> None:
    """A site that takes no project does not ask for one."""
    change(settings, IDENTIFIERS=["instance_lookup.identifiers.HeaderIdentifier"])
    assert examined()["projects"].level == "skipped"
    assert not any("/projects/" in request.path for request in service.server.received)


@pytest.mark.parametrize(
    ("script", "level"),
    [
        (Answer(404), "ok"),
        (Answer(501), "ok"),
        (Answer(500), "warning"),
        (Answer(200, b"<h1>"), "warning"),
        (as_json({"instances": []}), "ok"),
    ],
)
def test_list_that_is_missing(service: Service, script: Answer, level: str) -> None:
    """Without a list there is no instance to look at; the rest is looked at."""
    service.rule = at("/instances", script)
    found = examined(deep=True)
    assert found["list"].level == level
    assert {"document", "etag", "users", "all documents"} <= levels(found, "skipped")
    assert found["latency"].level == "ok"


def test_list_that_names_what_is_no_id(service: Service) -> None:
    """A name that is no id is shown; the first that is one is looked at."""
    service.instances = {"a b": document("a b"), **service.instances}
    found = examined()
    assert (found["list"].level, found["list"].seen) == ("warning", "it names what is no id: 'a b'")
    assert found["document"].seen == "of 'acme': valid"


def test_whole_list_that_names_one_twice(service: Service) -> None:
    """By --deep: an instance is named once."""
    service.rule = at("/instances", as_json({"instances": ["acme", "globex", "acme"]}))
    assert examined(deep=True)["whole list"].seen == "it names more than once: 'acme'"


def test_whole_list_that_has_no_end(service: Service) -> None:
    """By --deep: a cursor comes once."""
    pages = {"1": "2", "2": "1"}

    def answer(request: Received) -> Script | None:
        if not request.path.startswith("/instances?") and request.path != "/instances":
            return None
        cursor = request.path.rpartition("=")[2]
        return as_json({"instances": [], "next": pages.get(cursor, "1")})

    service.rule = answer
    assert "has no end" in examined(deep=True)["whole list"].seen


def test_list_of_empty_pages_has_an_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --deep: pages without an instance are not asked for longer than others."""
    clock = iter(range(0, 1_000_000, 16))
    monkeypatch.setattr(
        "instance_lookup.operations.doctor.service.monotonic", lambda: float(next(clock))
    )
    pages = iter(range(1_000))
    service.rule = lambda request: (
        as_json({"instances": [], "next": str(next(pages))})
        if request.path.startswith("/instances?") or request.path == "/instances"
        else None
    )
    assert examined(deep=True)["whole list"].seen.endswith("as far as time allowed")


def test_whole_list_that_breaks_off(service: Service) -> None:
    """By --deep: a page that is not given is to be mended."""
    service.rule = lambda request: Answer(500) if "cursor=" in request.path else None
    assert examined(deep=True)["whole list"].level == "warning"


def test_whole_list_takes_no_longer_than_a_call(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --deep: what there was time for is told."""
    clock = iter(range(0, 1_000_000, 16))
    monkeypatch.setattr(
        "instance_lookup.operations.doctor.service.monotonic", lambda: float(next(clock))
    )
    found = examined(deep=True)
    assert found["whole list"].seen == "1 instances, each once, as far as time allowed"
    assert found["all documents"].seen == ("1 looked at, as many as time allowed: all can be used")
    assert found["latency"].figures["calls"] == 1


def test_all_documents(service: Service) -> None:
    """By --deep: each document that cannot be used is named, with its field."""
    service.instances["initech"]["r2_bucket"] = 7
    service.rule = at("/instances/globex", Answer(404))
    finding = examined(deep=True)["all documents"]
    assert (finding.level, finding.figures) == ("error", {"wrong": 2, "documents": 3})
    assert "no document of 'globex'" in finding.seen
    assert "field `r2_bucket`" in finding.seen


# -- secrets ---------------------------------------------------------------------------------------


class Leaky(HttpConfigService):
    """Raises with everything that it knows."""

    def make_session(self) -> Any:
        raise RuntimeError(f"{SECRET} {TOKEN}")


def test_make_session_that_fails(service: Service, settings: Settings) -> None:
    """An error of a project's own code is told by its class."""
    backend = f"{__name__}.Leaky"
    change(settings, CONFIG_SERVICE_BACKEND=backend)
    assert only_error("answer").seen == "make_session failed (RuntimeError)"


def test_no_finding_holds_a_secret(service: Service, settings: Settings) -> None:
    """Not a token that the service repeats, nor a value of a config, nor a password of a URL."""
    with ScriptedServer(service.answer) as proxy:
        change(settings, CONFIG_SERVICE_PROXY=proxy.url.replace("//", f"//u:{SECRET}@"))
        echo = {"ETag": f'"{TOKEN}"', "Content-Encoding": f"{TOKEN} {SECRET}"}
        wrong = document("acme", worker_urls={"x": f"ftp://u:{SECRET}@host"}, r2_bucket=[SECRET])
        service.instances["globex"] = wrong
        service.rule = at("/instances/acme", as_json(wrong, **echo))
        told = json.dumps([finding.as_dict() for finding in examined(deep=True).values()])
    assert "cannot be used" in told
    assert not [word for word in (SECRET, TOKEN) if word in told]
