from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from instance_lookup.backends.base import Document, NotModified
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.exceptions import AccessDenied, InstanceNotFound
from tests.behaviour.http.queries import query


@pytest.fixture
def service() -> DictConfigService:
    return DictConfigService({"acme": {"r2_bucket": "files"}}, {"website": "acme"})


def document(answer: Document | NotModified) -> Document:
    assert isinstance(answer, Document)
    return answer


def test_instance_is_answered_with_its_id(service: DictConfigService) -> None:
    """The id need not be repeated in the fields."""
    body = document(service.get_instance("acme", query())).body
    assert json.loads(body) == {"instance_id": "acme", "r2_bucket": "files"}


def test_instance_id_in_the_fields_wins(service: DictConfigService) -> None:
    """A test can have the source answer with the wrong id."""
    service.instances["acme"] = {"instance_id": "other"}
    assert json.loads(document(service.get_instance("acme", query())).body) == {
        "instance_id": "other"
    }


def test_unknown_instance_is_not_found(service: DictConfigService) -> None:
    """The error for an unknown instance names its id."""
    with pytest.raises(InstanceNotFound, match="'nobody'") as caught:
        service.get_instance("nobody", query())
    assert caught.value.instance_id == "nobody"


def test_project_is_answered_with_its_instance(service: DictConfigService) -> None:
    """A project answers with both ids."""
    body = document(service.get_project("website", query())).body
    assert json.loads(body) == {"project_id": "website", "instance_id": "acme"}


def test_unknown_project_is_not_found(service: DictConfigService) -> None:
    """The error for an unknown project names the project."""
    with pytest.raises(InstanceNotFound, match="'nothing'") as caught:
        service.get_project("nothing", query())
    assert caught.value.details == {"project_id": "nothing"}


def test_same_etag_is_not_modified(service: DictConfigService) -> None:
    """A caller with the current ETag gets no body."""
    etag = document(service.get_instance("acme", query())).etag
    assert isinstance(service.get_instance("acme", query(etag=etag)), NotModified)


def test_change_changes_the_etag(service: DictConfigService) -> None:
    """A change gives the document another ETag."""
    etag = document(service.get_instance("acme", query())).etag
    service.instances["acme"] = {"r2_bucket": "elsewhere"}
    assert b"elsewhere" in document(service.get_instance("acme", query(etag=etag))).body


def test_list_holds_every_id(service: DictConfigService) -> None:
    """The list has all ids on one page."""
    service.instances["globex"] = {}
    page = service.list_instances(query())
    assert (page.instance_ids, page.next) == (("acme", "globex"), None)


def test_calls_are_recorded(service: DictConfigService) -> None:
    """The backend records each call, so tests can see them in order."""
    service.get_instance("acme", query(user_id="u1"))
    service.get_project("website", query())
    service.list_instances(query(), "page-2")
    assert service.calls == [
        ("get_instance", "acme", "u1"),
        ("get_project", "website", None),
        ("list_instances", "page-2", None),
    ]


def test_failure_is_raised_while_it_is_set(service: DictConfigService) -> None:
    """A failure that is set is raised by each call until it is removed."""
    service.failure = AccessDenied("no")
    with pytest.raises(AccessDenied):
        service.get_instance("acme", query())
    service.failure = None
    service.get_instance("acme", query())
    assert len(service.calls) == 2


def test_dicts_of_the_caller_are_not_shared() -> None:
    """Two tests that start from one dict do not see each other's changes."""
    instances: dict[str, dict[str, str]] = {}
    DictConfigService(instances).instances["acme"] = {}
    assert instances == {}


def test_settings_build_an_empty_one() -> None:
    """As CONFIG_SERVICE_BACKEND it needs no other setting, and is empty."""
    settings: Any = SimpleNamespace()
    assert DictConfigService.from_settings(settings).instances == {}
