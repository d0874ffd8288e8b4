"""The reference Config Service: documents, entity tags, users, credentials."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import datetime, timedelta
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.sandbox.service import CONFIG, TOKEN, Api, fresh_id

if TYPE_CHECKING:
    from config_service.process import ServiceAdmin

# --- documents ---------------------------------------------------------------------------------


def test_instance_body_has_every_field(api: Api, instance_id: str) -> None:
    """A configuration comes out as it was entered, under the names of the contract."""
    body = api.ask(f"/instances/{instance_id}").json()
    metadata = body.pop("metadata")
    del metadata["created_at"], metadata["updated_at"]

    assert body == {"instance_id": instance_id, **CONFIG}
    assert metadata == {"name": "N", "description": "D", "owner": "7", "tenant_id": "t"}


def test_instance_dates_are_rfc_3339_in_utc(api: Api, instance_id: str) -> None:
    """All dates have the offset Z."""
    metadata = api.ask(f"/instances/{instance_id}").json()["metadata"]

    for field in ("created_at", "updated_at"):
        assert metadata[field].endswith("Z")
        assert datetime.fromisoformat(metadata[field]).utcoffset() == timedelta(0)


def test_instance_blank_metadata_is_null(api: Api, service_admin: ServiceAdmin) -> None:
    """Metadata that is not recorded is null: two empty strings could match each other."""
    name = fresh_id()
    service_admin.set(f"instance/{name}")
    metadata = api.ask(f"/instances/{name}").json()["metadata"]

    assert {metadata[field] for field in ("name", "description", "owner", "tenant_id")} == {None}


def test_instance_rate_limit_missing_parts_are_null(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A rate limit always has its three parts."""
    service_admin.set(f"instance/{instance_id}", rate_limits={"render": {"rpm": 1}})

    limits = api.ask(f"/instances/{instance_id}").json()["rate_limits"]
    assert limits == {"render": {"rpm": 1, "rpm_burst": None, "daily": None}}


def test_project_body_names_its_instance(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A project is mapped to its instance."""
    project_id = fresh_id()
    service_admin.set(f"project/{project_id}", instance_id=instance_id)

    body = api.ask(f"/projects/{project_id}").json()
    assert body == {"project_id": project_id, "instance_id": instance_id}


def test_instance_deleted_is_404_with_its_projects(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A deleted instance is 404 at once, and so are its projects."""
    project_id = fresh_id()
    service_admin.set(f"project/{project_id}", instance_id=instance_id)
    service_admin.remove(instance_id)

    assert api.ask(f"/instances/{instance_id}").status_code == 404
    assert api.ask(f"/projects/{project_id}").status_code == 404


def test_instance_id_in_another_case_is_404(api: Api) -> None:
    """An id in another case is another id."""
    assert api.ask("/instances/Studio-A").status_code == 404


# --- entity tags -------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["{}", "W/{}", '"other", {}', 'W/"other",W/{}', "*"])
@pytest.mark.parametrize("path", ["/instances/studio-a", "/projects/film-42"])
def test_document_held_is_304(api: Api, path: str, template: str) -> None:
    """If-None-Match is a list or a star, compared weakly (RFC 9110, 13.1.2)."""
    full = api.ask(path)
    answer = api.ask(path, If_None_Match=template.format(full.headers["ETag"]))

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == full.headers["ETag"]


def test_document_held_names_the_length_of_the_whole(api: Api) -> None:
    """A 304 may not give the length of its own, missing body (RFC 9110, 8.6)."""
    full = api.ask("/instances/studio-a")
    answer = api.ask("/instances/studio-a", If_None_Match="*")

    assert answer.headers["Content-Length"] == full.headers["Content-Length"]


@pytest.mark.parametrize("tag", ['"other"', "", "studio-a", 'W/"*"'])
def test_document_not_held_is_sent(api: Api, tag: str) -> None:
    """A tag that is not the current one, or no tag at all, gets the body."""
    assert api.ask("/instances/studio-a", If_None_Match=tag).status_code == 200


def test_etag_of_unchanged_instance_is_the_same(api: Api) -> None:
    """The tag depends on the body alone."""
    tags = {api.ask("/instances/studio-b").headers["ETag"] for _ in range(2)}

    assert len(tags) == 1
    assert re.fullmatch(r'"[0-9a-f]{32}"', tags.pop())


def test_etag_of_changed_instance_is_another(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A held copy is not confirmed once the configuration has changed."""
    path = f"/instances/{instance_id}"
    tag = api.ask(path).headers["ETag"]
    service_admin.set(f"instance/{instance_id}", features={"beta": False})

    answer = api.ask(path, If_None_Match=tag)
    assert answer.status_code == 200
    assert answer.json()["features"] == {"beta": False}


# --- users -------------------------------------------------------------------------------------


@pytest.mark.parametrize("user_id", [None, "7", "somebody", "j%C3%B6rg", "x" * 200])
def test_body_does_not_depend_on_the_user(api: Api, user_id: str | None) -> None:
    """A document is the same for each user, since all users of a site share one answer."""
    answer = api.ask("/instances/studio-a", X_User_ID=user_id)

    assert answer.content == api.ask("/instances/studio-a").content


def test_user_refused_is_403_for_instance_and_project(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A refused user gets neither the configuration nor the mapping that leads there."""
    project_id = fresh_id()
    service_admin.set(f"project/{project_id}", instance_id=instance_id)
    service_admin.set(f"instance/{instance_id}", refused_users=["12", "jörg"])
    statuses = {
        user: [
            api.ask(path, X_User_ID=user).status_code
            for path in (f"/instances/{instance_id}", f"/projects/{project_id}")
        ]
        for user in ("12", "j%C3%B6rg", "1", "7", None)
    }

    assert statuses == {
        "12": [403, 403],
        "j%C3%B6rg": [403, 403],
        "1": [200, 200],
        "7": [200, 200],
        None: [200, 200],
    }


def test_user_refused_is_403_even_with_a_current_copy(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A user with a current copy is refused all the same."""
    service_admin.set(f"instance/{instance_id}", refused_users=["12"])

    answer = api.ask(f"/instances/{instance_id}", X_User_ID="12", If_None_Match="*")
    assert answer.status_code == 403


def test_user_is_of_no_matter_to_an_unknown_id(api: Api) -> None:
    """An unknown id gets the same 404 for all users."""
    bodies = {api.ask("/instances/nowhere", X_User_ID=user).content for user in (None, "7")}

    assert len(bodies) == 1


@pytest.mark.parametrize(
    "user_id",
    ["", "a b", "a\tb", "%", "%zz", "%FF", "%ED%A0%80", "a%0Ab", "%C2%85", "\x7f", "x" * 201],
)
def test_user_malformed_is_400(api: Api, user_id: str) -> None:
    """A user id that cannot be read is refused, not taken for no user."""
    for path in ("/instances/studio-a", "/projects/film-42", "/instances"):
        assert api.ask(path, X_User_ID=user_id).status_code == 400


# --- credentials, methods, paths ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="config-service"'),
        ("", 'Bearer realm="config-service"'),
        ("Bearer", 'Bearer realm="config-service"'),
        (f"Basic {TOKEN}", 'Bearer realm="config-service"'),
        (TOKEN, 'Bearer realm="config-service"'),
        ("Bearer wrong", 'Bearer realm="config-service", error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer realm="config-service", error="invalid_token"'),
        ("Bearer \xe9", 'Bearer realm="config-service", error="invalid_token"'),
    ],
)
def test_credential_missing_or_wrong_is_401(api: Api, header: str | None, challenge: str) -> None:
    """A client without the token gets 401, and learns nothing but what is asked for."""
    for path in ("/instances/studio-a", "/instances/nowhere", "/projects/film-42", "/instances"):
        answer = api.ask(path, Authorization=header)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, challenge)


def test_credential_scheme_in_another_case_is_accepted(api: Api) -> None:
    """The name of an authentication scheme has no case (RFC 9110, 11.1)."""
    assert api.ask("/instances", Authorization=f"bEARER  {TOKEN}").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_method_that_writes_is_405(api: Api, method: str) -> None:
    """A method that writes gets 405, and no page about cookies."""
    for path in ("/instances/studio-a", "/projects/film-42", "/instances"):
        answer = api.ask(path, method)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_method_head_has_the_headers_alone(api: Api) -> None:
    """HEAD answers like GET without the body."""
    full, head = api.ask("/instances/studio-a"), api.ask("/instances/studio-a", "HEAD")

    assert (head.status_code, head.content) == (200, b"")
    for name in ("ETag", "Content-Type", "Content-Length"):
        assert head.headers[name] == full.headers[name]


@pytest.mark.parametrize(
    "path",
    [
        "/instances/",
        "/instances/a/b",
        "/instances/a%2Fb",
        "/instances/%00",
        "/projects",
        "/projects/x",
    ],
)
def test_path_unknown_is_a_404_problem(api: Api, path: str) -> None:
    """An unknown path gets a 404 in the API's format, and no redirect."""
    answer = api.ask(path)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": answer.json()["detail"],
    }


def test_path_outside_the_api_needs_no_token(api: Api) -> None:
    """Paths outside of the API need no token."""
    assert api.ask("/", Authorization=None).headers["Location"] == "/admin/"
    assert "<html" in api.ask("/instances-of", Authorization=None).text


@pytest.mark.parametrize(
    "path", ["/instances/studio-a", "/instances/x", "/instances", "/projects/"]
)
def test_answer_is_never_to_be_stored(api: Api, path: str) -> None:
    """Each answer has ``no-store``."""
    assert api.ask(path).headers["Cache-Control"] == "private, no-store"


def test_options_of_the_server_as_a_whole(api: Api) -> None:
    """``OPTIONS *`` gets a 404, which is not the API's."""
    with closing(HTTPConnection(urlsplit(api.url).netloc, timeout=10)) as connection:
        connection.request("OPTIONS", "*")
        assert connection.getresponse().status == 404
