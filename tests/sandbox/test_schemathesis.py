"""Any request, within the contract or against it: the reference service answers as documented."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.properties.profile import tried
from tests.sandbox.service import TOKEN
from tests.sandbox.test_openapi import CONTRACT

if TYPE_CHECKING:
    from config_service.process import ServerProcess

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
# Not the stream, whose body has no end: see test_push.
ENDING = [path for path in CONTRACT["paths"] if path != "/stream"]
PATHS = pytest.mark.parametrize("path", ENDING)
cursors = st.sampled_from([None, "after:studio-a", "after:gone"])


def requests(path: str, service: ServerProcess, mode: GenerationMode) -> st.SearchStrategy[Any]:
    """Return requests to ``path`` that the contract allows, or that it does not."""
    schema = schemathesis.openapi.from_dict(CONTRACT)
    schema.config.update(base_url=service.url)
    cases: st.SearchStrategy[Any] = schema[path]["GET"].as_strategy(generation_mode=mode)
    return cases


def is_user_id(sent: str | None) -> bool:
    """Tell whether this is a user id by the words of the contract, which no pattern can say."""
    try:
        name = unquote(sent or "", errors="strict")
    except UnicodeDecodeError:
        return False
    return len(name) <= 200 and not any(unicodedata.category(char) == "Cc" for char in name)


@PATHS
@tried(15)
@given(data=st.data())
def test_any_request_within_the_contract(
    path: str, config_service: ServerProcess, data: st.DataObject
) -> None:
    """It is answered as documented, with the token only, and never refused as malformed."""
    case = data.draw(requests(path, config_service, GenerationMode.POSITIVE))
    if not is_user_id(case.headers.get("X-User-ID")):
        del case.headers["X-User-ID"]
    if "cursor" in (case.query or {}):  # only what the service itself gave out is one
        case.query["cursor"] = data.draw(cursors)
    case.call_and_validate(headers=AUTHORIZED)


@PATHS
@tried(15)
@given(data=st.data())
def test_any_request_against_the_contract(
    path: str, config_service: ServerProcess, data: st.DataObject
) -> None:
    """It is answered as documented, too: an id that is none is not there, and nothing breaks."""
    case = data.draw(requests(path, config_service, GenerationMode.NEGATIVE))
    # A parameter that the list does not know is ignored, as on any site.
    is_lenient = path == "/instances"
    excluded = [negative_data_rejection] if is_lenient else []
    case.call_and_validate(headers=AUTHORIZED, excluded_checks=excluded)


@pytest.mark.parametrize("changed", ["status", "header", "body"])
def test_validation_misses_nothing(changed: str, config_service: ServerProcess) -> None:
    """The tests above can fail: an answer that is not as documented is noticed."""
    schema = schemathesis.openapi.from_dict(CONTRACT)
    schema.config.update(base_url=config_service.url)
    operation = schema["/instances/{instance_id}"]["GET"]
    case = operation.Case(path_parameters={"instance_id": "studio-a"})
    answer = case.call(headers=AUTHORIZED)
    match changed:
        case "status":
            answer.status_code = 206
        case "header":
            del answer.headers["x-request-id"]
        case _:
            answer.content = b"{}"
    with pytest.raises(FailureGroup):
        case.validate_response(answer)
