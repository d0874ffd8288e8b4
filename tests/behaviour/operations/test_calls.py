"""What would be sent is told without a secret, and what an operator asks is not kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceResolver
from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.operations.calls import build_query, call, describe_call
from instance_lookup.operations.explain import explain
from instance_lookup.resilience.deadline import Deadline
from tests.support.canary import CANARY
from tests.support.lookups import ACME, DOWN, OLGA, Clock, asks

if TYPE_CHECKING:
    import requests

    from instance_lookup.cache.kinds import Kind
    from instance_lookup.types import InstanceConfig

URL = "http://config.example.com/v1"
QUERY = Query(Deadline.after(5), "r-1", "jörg", '"7"')


class Signing(HttpConfigService):
    """Sends its credential in a header of its own, and by ``requests``' auth."""

    def make_session(self) -> requests.Session:
        session = super().make_session()
        session.headers["X-Api-Key"] = CANARY
        session.auth = ("site", CANARY)
        return session

    def path_of(self, kind: str, id: str) -> str:  # noqa: A002  # its name in all docs
        return f"/tenants/{id}?key={CANARY}"


class Broken(HttpConfigService):
    def make_session(self) -> requests.Session:
        raise OSError(CANARY)


def test_call_over_http() -> None:
    """Method, URL and headers are told; the credential is masked."""
    told = describe_call(HttpConfigService(url=URL, token=CANARY), "instance", "acme", QUERY)
    assert told.to == f"GET {URL}/instances/acme"
    assert told.headers["X-User-ID"] == "j%C3%B6rg"
    assert told.headers["If-None-Match"] == '"7"'
    assert told.headers["Authorization"] == "********"
    assert CANARY not in repr(told)


def test_call_with_credentials_of_its_own() -> None:
    """Of a backend of the project's own, each header that is not known is masked."""
    told = describe_call(Signing(url=URL), "project", "shop", QUERY)
    assert told.headers["X-Api-Key"] == told.headers["Authorization"] == "********"
    assert told.to == f"GET {URL}/tenants/shop?********"
    assert CANARY not in repr(told)


@pytest.mark.parametrize(
    ("backend", "to"),
    [
        (Broken(url=URL), f"The Config Service at {URL}: instance 'acme' (OSError in Broken)"),
        (DictConfigService(), "The Config Service (DictConfigService): instance 'acme'"),
    ],
)
def test_call_that_has_no_url(backend: Any, to: str) -> None:
    """A backend without URLs, or one that fails to make its session, is described."""
    told = describe_call(backend, "instance", "acme", QUERY)
    assert told.to == to
    assert told.headers["X-Request-ID"] == "r-1"
    assert CANARY not in repr(told)


class Says(DictConfigService):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


@pytest.fixture
def kind() -> Kind[InstanceConfig]:
    return InstanceResolver(config_service_backend=DictConfigService()).cache.tiers.kind


def document(**fields: Any) -> Document:
    return Document(json.dumps({**ACME, **fields}).encode(), status=200)


@pytest.mark.parametrize(
    ("answer", "said", "reason"),
    [
        (document(), "200", None),
        (Document(document().body), "a document", None),
        (document(instance_id="ACME"), "the id, in another spelling", None),
        (document(instance_id="other"), "rejected: ", "rejected"),
        (document(api_keys={"a": [CANARY]}), "rejected: ", "rejected"),
        (NotModified(), "rejected: answered 'not modified', but no copy is held", "rejected"),
        (DOWN, "status", "status"),
        (ZeroDivisionError(CANARY), "raised ZeroDivisionError", "ZeroDivisionError"),
    ],
)
def test_answer_to_a_call(kind: Any, answer: Any, said: str, reason: str | None) -> None:
    """Each answer is told in a few words, with no value of the document."""
    heard = call(Says(answer), kind, "acme", QUERY, None)
    assert heard.said.startswith(said)
    assert (heard.error.details if heard.error else {}).get("reason") == reason
    assert heard.seconds >= 0
    assert CANARY not in repr(heard)


def test_copy_that_still_counts(clock: Clock) -> None:
    """A stale copy is asked about by its tag, and one that still counts is what is served."""
    service = DictConfigService({"acme": ACME})
    resolver = InstanceResolver(config_service_backend=service)
    resolver.resolve(asks(OLGA))
    clock.now += 400
    told = explain(resolver, asks(OLGA), ask=True)
    assert told.layers[-1].note == "304: the copy still counts"
    assert (told.ending.status, told.ending.source) == (200, "service")
    assert "If-None-Match" in told.calls[0].headers


def test_query_of_the_site_itself() -> None:
    """The site asks in the name that the settings give it."""
    resolver = InstanceResolver(
        config_service_backend=DictConfigService(), config_service_user_id="site"
    )
    asker = resolver._load_config._asker(asks(OLGA))
    assert build_query(resolver, asker, None).user_id == "olga"
