"""The command says why a user gets what they get, and leaves with a code for scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup.testing.cache import faulty_cache
from tests.behaviour.commands.support import SECRET, TOKEN, Run, run, store
from tests.support.servers import Answer, mute, reset

if TYPE_CHECKING:
    from tests.behaviour.commands.support import ConfigService

pytestmark = pytest.mark.django_db

HEADER = ("--header", "X-Instance-ID: acme")


@pytest.fixture(autouse=True)
def bob() -> User:
    return User.objects.create_user("bob", pk=7, email="bob@example.com")


def explain(*args: str) -> Run:
    return run("explain_instance_lookup", *args)


def test_text(service: ConfigService) -> None:
    """The text has the identifiers, the layers, the call, the tree, the answer and a hint."""
    store("acme", owner="bob", age=130)
    ran = explain("--user", "bob", *HEADER, "--header", "X-Request-ID: r-1")
    assert ran.out.splitlines() == [
        "instance 'acme' for user '7' (request r-1)",
        "Identifiers",
        "  HeaderIdentifier (X-Instance-ID)  instance 'acme'",
        "  ProjectIdentifier (X-Project-ID)  not asked",
        "  UserDefaultIdentifier             not asked",
        "Layers",
        *[line for line in ran.out.splitlines() if line.startswith("  instance 'acme'")],
        "To the Config Service, if it is asked",
        f"  GET {service.server.url}/instances/acme",
        *[line for line in ran.out.splitlines() if line.startswith("    ") and "Is" not in line],
        "Policy",
        "  AnyOf: no",
        "    IsOwner: no: owner is 'bob', user is '7'",
        "    IsAdmin: no: asks for 'admin', the user's roles: none",
        "Answer: 403 ACCESS_DENIED: You may not use instance 'acme'.",
        "Hint: The owner 'bob' is this user's name or e-mail, and ids are compared: have the Config"
        " Service record '7', or have USER_CONTEXT return 'bob' as user_id.",
    ]
    assert "shared   fresh, 2 min 10 s old, 2 min 50 s left, purged in 57 min 50 s, took" in ran.out
    assert "    Authorization: ********" in ran.out
    assert (ran.code, service.asked) == (2, [])


def test_json(service: ConfigService) -> None:
    """JSON is one object with the same."""
    store("acme", owner="7")
    ran = explain("--user", "bob", *HEADER, "--format", "json")
    assert ran.json["ending"]["status"] == 200
    assert [part["answer"] for part in ran.json["verdict"]["parts"]] == ["yes", "not asked"]
    assert ran.code == 0


def test_ask(service: ConfigService) -> None:
    """With ``--ask`` the service is asked, and nothing is stored."""
    for _ in range(2):
        ran = explain("--user", "bob", *HEADER, "--ask")
        assert "service  asked, 200, took" in ran.out
        assert "owner is 'u1', user is '7'" in ran.out
    assert service.asked == ["/instances/acme"] * 2
    assert "service  not asked, a lookup would ask it" in explain("--user", "bob", *HEADER).out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--user", "bob", *HEADER], 0, "Answer: unknown, 503 where the service fails: "),
        (["--user", "nobody"], 2, "No user has the username or the key 'nobody'."),
        (["--anonymous", *HEADER], 2, "Answer: 403 ACCESS_DENIED: Anonymous callers"),
        (["--user", "bob", "--instance", "a\x1bb"], 2, "Answer: 400 INVALID_CONTEXT: 'a\\x1bb'"),
        (["--user", "bob", "--project", "shop", "--ask"], 2, "You may not use project 'shop'."),
        (["--user", "bob", "--instance", "hooli", "--ask"], 2, "404 INSTANCE_NOT_FOUND"),
        (["--user", "bob", "--path", "/where/?x=1"], 2, "The request names no instance"),
    ],
)
def test_exit_code(service: ConfigService, args: list[str], code: int, said: str) -> None:
    """It leaves with 2 where the user surely gets no instance, and with 0 otherwise."""
    ran = explain(*args)
    assert said in ran.out
    assert ran.code == code


@pytest.mark.parametrize("args", [[], ["--user", "bob", "--anonymous"], ["--user", "bob", "acme"]])
def test_wrong_usage(service: ConfigService, args: list[str]) -> None:
    """A user or ``--anonymous`` has to be named, and no bare ids."""
    assert explain(*args).code == 1


def test_unknown_user_has_no_request(service: ConfigService) -> None:
    """Without a user there is no request, so none is named."""
    assert explain("--user", "eve").out.startswith("no instance for user 'eve'\n")


def test_refusal_by_a_stale_copy_is_one_sentence(service: ConfigService) -> None:
    """What the copy would lead to ends with one full stop."""
    store("acme", age=400, owner="eve")
    assert (
        explain("--user", "bob", *HEADER)
        .out.splitlines()[-1]
        .endswith("refused: You may not use instance 'acme'.")
    )


def test_header_without_a_colon(service: ConfigService) -> None:
    """What is no header is refused."""
    ran = explain("--user", "bob", "--header", "X-Instance-ID")
    assert (ran.code, ran.out) == (1, "")
    assert "is not a header" in ran.err


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, b"<html>"), Answer(302), reset()])
def test_service_down(service: ConfigService, answer: Any) -> None:
    """A service that fails is part of the explanation; a copy is what is served then."""
    service.scripts["/instances/acme"] = answer
    ran = explain("--user", "bob", *HEADER, "--ask")
    assert "Answer: 503 CONFIG_SERVICE_UNAVAILABLE: The configuration of instance 'acme'" in ran.out
    assert ran.code == 2
    store("acme", owner="7", age=1000)
    assert "Answer: 200 stale_cache" in explain("--user", "bob", *HEADER, "--ask").out


def test_everything_down(service: ConfigService, settings: Any) -> None:
    """With cache and service down it says so, with the code of a cache that failed."""
    service.scripts["/instances/acme"] = mute()
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_TIMEOUT": 0.1}
    with faulty_cache() as faults:
        faults.fail()
        ran = explain("--user", "bob", *HEADER, "--ask")
    assert "down, The cache 'default' failed to read 'acme': ConnectionError, took " in ran.out
    assert "service  asked, timeout" in ran.out
    assert "Answer: 503" in ran.out
    assert (ran.code, ran.err) == (3, "The cache could not be read.")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_shown(service: ConfigService, settings: Any, form: str) -> None:
    """No key, token or password is in what is printed, whatever happens."""
    broken = {"instance_id": "acme", "api_keys": {"openai": [SECRET]}}
    outputs = []
    for answer in (None, Answer(200, json.dumps(broken).encode()), Answer(403), Answer(500)):
        if answer:
            service.scripts["/instances/acme"] = answer
        for more in ((), ("--ask",), ("--header", f"Authorization: Bearer {TOKEN}")):
            ran = explain("--user", "bob", *HEADER, "--format", form, *more)
            outputs.append(ran.out + ran.err)
        store("acme", age=1000)
    assert not any(SECRET in each or TOKEN in each for each in outputs)
