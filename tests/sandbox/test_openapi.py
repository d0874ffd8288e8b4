"""The OpenAPI file: the reference Config Service answers as it says, and only so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openapi_core.exceptions import OpenAPIError

from tests.sandbox.service import Api, fresh_id

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from config_service.process import ServiceAdmin

DOCS = Path(__file__).parents[2] / "docs" / "reference"
CONTRACT: dict[str, Any] = yaml.safe_load((DOCS / "config-service.openapi.yaml").read_text())
# The stream, whose answers have no end, has tests of its own.
PATHS = {path: item for path, item in CONTRACT["paths"].items() if path != "/stream"}
DOCUMENTED = [
    (path, status) for path, item in PATHS.items() for status in map(int, item["get"]["responses"])
]
# What only the switches can bring about.
TROUBLES = {408, 410, 425, 429, 500, 502, 503, 504}
REFUSED = "12"


def build(contract: dict[str, Any]) -> OpenAPI:
    """Make a validator that reads problems, too, as JSON."""
    reads: dict[str, Callable[[bytes], Any]] = {"application/problem+json": json.loads}
    return OpenAPI.from_dict(contract, config=Config(extra_media_type_deserializers=reads))


@pytest.fixture(scope="session")
def openapi() -> OpenAPI:
    """The contract, which is itself checked against OpenAPI 3.1 here."""
    return build(CONTRACT)


@pytest.fixture(scope="session")
def ids(service_admin: ServiceAdmin) -> dict[str, str]:
    """An instance that refuses a user, and a project of it, by the names of the path parameters."""
    names = {"instance_id": fresh_id(), "project_id": fresh_id()}
    service_admin.set(
        f"instance/{names['instance_id']}",
        refused_users=[REFUSED],
        owner="7",
        api_keys={"render": "x"},
        rate_limits={"render": {"rpm": 1, "daily": 5}},
        worker_urls={"render": "http://127.0.0.1/"},
        features={"beta": True},
    )
    service_admin.set(f"project/{names['project_id']}", instance_id=names["instance_id"])
    return names


def validate(openapi: OpenAPI, answer: requests.Response) -> None:
    """Hold an answer, and the question, against the contract."""
    openapi.validate_response(
        RequestsOpenAPIRequest(answer.request), RequestsOpenAPIResponse(answer)
    )


def provoke(api: Api, path: str, status: int, ids: dict[str, str]) -> requests.Response:
    """Send the request to ``path`` that is answered with ``status``."""
    known, unknown = path.format(**ids), path.format(instance_id="x", project_id="x")
    match status:
        case 304:
            return api.ask(known, If_None_Match="*")
        case 400:
            return api.ask(known, X_User_ID="%00")
        case 401:
            return api.ask(known, Authorization="Bearer wrong")
        case 403:
            return api.ask(known, X_User_ID=REFUSED)
        case 404:
            return api.ask(unknown)
        case _:
            return api.ask(known)


@pytest.mark.parametrize(("path", "status"), [d for d in DOCUMENTED if d[1] not in TROUBLES])
def test_answer_is_as_documented(
    openapi: OpenAPI, api: Api, ids: dict[str, str], path: str, status: int
) -> None:
    """Each documented status of each operation is answered with its headers and body."""
    answer = provoke(api, path, status, ids)

    assert answer.status_code == status
    validate(openapi, answer)


@pytest.mark.parametrize("status", sorted(TROUBLES))
def test_trouble_is_as_documented(
    openapi: OpenAPI, api: Api, ids: dict[str, str], switch: Callable[..., None], status: int
) -> None:
    """The answers to switched-on faults match the documented headers and bodies."""
    paths = [path for path, documented in DOCUMENTED if documented == status]
    switch(errors=100, errors_status=status, retry_after=5)
    answers = [api.ask(path.format(**ids)) for path in paths]

    assert {answer.status_code for answer in answers} == {status}
    for answer in answers:
        validate(openapi, answer)


@pytest.mark.parametrize("path", PATHS)
def test_method_not_allowed_is_as_documented(api: Api, ids: dict[str, str], path: str) -> None:
    """A POST gets the answer that the contract has for every other method."""
    answer = api.ask(path.format(**ids), "POST")
    refused = {"405": {"$ref": "#/components/responses/MethodNotAllowed"}}
    paths = {path: CONTRACT["paths"][path] | {"post": {"responses": refused}}}

    validate(build(CONTRACT | {"paths": paths}), answer)


def test_pages_are_as_documented(openapi: OpenAPI, api: Api) -> None:
    """The first page, which has a next, and the one it leads to."""
    first = api.ask("/instances?limit=1")
    second = api.ask(f"/instances?limit=1&cursor={first.json()['next']}")

    for page in (first, second):
        assert page.status_code == 200
        validate(openapi, page)


@pytest.mark.parametrize("query", ["cursor=foreign", "limit=0", "limit=many"])
def test_bad_page_is_as_documented(openapi: OpenAPI, api: Api, query: str) -> None:
    """A cursor or limit that cannot be used is a documented 400."""
    answer = api.ask(f"/instances?{query}")

    assert answer.status_code == 400
    validate(openapi, answer)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/instances/{instance_id}", "Instance"),
        ("/projects/{project_id}", "Project"),
        ("/instances", "Page"),
        ("/projects/unknown", "Problem"),
    ],
)
def test_body_has_the_documented_fields_and_no_others(
    api: Api, ids: dict[str, str], path: str, schema: str
) -> None:
    """The reference service sends all that the contract knows, and nothing it does not."""
    body = api.ask(path.format(**ids)).json()

    assert body.keys() == CONTRACT["components"]["schemas"][schema]["properties"].keys()


def test_metadata_and_limits_have_the_documented_fields_and_no_others(
    api: Api, ids: dict[str, str]
) -> None:
    """Inside a configuration, too, the fields are those of the contract."""
    schemas = CONTRACT["components"]["schemas"]
    body = api.ask("/instances/{instance_id}".format(**ids)).json()

    assert body["metadata"].keys() == schemas["Metadata"]["properties"].keys()
    assert body["rate_limits"]["render"].keys() == schemas["RateLimit"]["properties"].keys()


@pytest.mark.parametrize("header", ["ETag", "X-Request-ID", "Cache-Control"])
def test_validation_misses_no_header(openapi: OpenAPI, api: Api, header: str) -> None:
    """The tests above can fail: an answer without a documented header is noticed."""
    answer = api.ask("/instances/studio-a")
    validate(openapi, answer)
    del answer.headers[header]

    with pytest.raises(OpenAPIError):
        validate(openapi, answer)


@pytest.mark.parametrize(
    "change",
    [
        {"instance_id": None},
        {"api_keys": {"render": 5}},
        {"rate_limits": {"render": {"rpm": -1}}},
        {"rate_limits": {"render": {"daily": 1}}},
        {"features": {"beta": "yes"}},
        {"metadata": {"owner": 7}},
        {"metadata": {"created_at": "yesterday"}},
    ],
)
def test_validation_misses_no_wrong_field(
    openapi: OpenAPI, api: Api, change: dict[str, Any]
) -> None:
    """The tests above can fail: a body of another shape is noticed."""
    answer = api.ask("/instances/studio-a")
    # There is no public way to doctor a Response.
    answer._content = json.dumps(answer.json() | change).encode()

    with pytest.raises(OpenAPIError):
        validate(openapi, answer)


def documented_examples() -> list[tuple[str, dict[str, Any]]]:
    """Return the JSON blocks of the page in words, each with the schema it must fit."""
    page = (DOCS / "config-service.md").read_text()
    names = ["Instance", "Project", "Page", "Page", "Problem"]
    blocks = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    return list(zip(names, map(json.loads, blocks), strict=True))


@pytest.mark.parametrize(("schema", "example"), documented_examples())
def test_page_examples_have_the_documented_fields(schema: str, example: dict[str, Any]) -> None:
    """The page in words and the file for programs name the same fields."""
    assert example.keys() == CONTRACT["components"]["schemas"][schema]["properties"].keys()


def test_page_names_every_documented_status() -> None:
    """The page in words says what the client does with each status of the file."""
    page = (DOCS / "config-service.md").read_text()
    table = page.partition("## Errors")[2].partition("\n## ")[0]
    named = {int(number) for number in re.findall(r"\b[2-5]\d\d\b", table)}

    for _, status in DOCUMENTED:
        assert status in named or (status >= 500 and "5xx" in table)
