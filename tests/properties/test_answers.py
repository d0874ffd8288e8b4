"""Any HTTP answer of the service: the right config, or the kind of failure its status has."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from tests.properties.profile import tried
from tests.support.canary import CANARY, places
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup import LookupResult
    from tests.support.lookups import Twin

STATUSES = [
    200,
    201,
    204,
    206,
    301,
    302,
    304,
    400,
    401,
    403,
    404,
    408,
    410,
    425,
    429,
    500,
    503,
    999,
]
KINDS = ["application/json", "application/problem+json", "text/html", "application/json; charset=x"]
SOON = ["0", "5", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 2015 99:99:99 GMT"]
numbers = count()
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(KINDS) | texts,
        "ETag": st.sampled_from(['"1"', 'W/"1"', '"']) | texts,
        "Retry-After": st.sampled_from(SOON) | texts,
        "Content-Encoding": st.sampled_from(["gzip", "identity", "br"]) | texts,
        "Location": texts,
    },
)
bodies = st.sampled_from([
    b"", b"{}", b"null", b"<html>", b'{"instance_id": "ID"}', b'{"instance_id": "id"}',
    json.dumps({"instance_id": "ID", "api_keys": {"render": CANARY}}).encode(),
    json.dumps({"instance_id": "other", "api_keys": {"render": CANARY}}).encode(),
]) | st.binary(max_size=60).map(CANARY.encode().__add__)  # fmt: skip


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def resolver(server: ScriptedServer) -> InstanceResolver:
    """A resolver that neither one instance's failures nor one user's misses keep from asking."""
    return InstanceResolver(config_service_url=server.url, breaker_failures=10**6, miss_budget=None)


def assert_of_kind(error: InstanceLookupError, status: int) -> None:
    """Check that the failure is of the kind that the answer's status has, and shows no key."""
    if status == 403:
        assert isinstance(error, AccessDenied)
    elif status in {200, 404, 410}:  # 200: of an id in another spelling
        assert isinstance(error, InstanceNotFound | ConfigServiceUnavailable)
    else:
        assert isinstance(error, ConfigServiceUnavailable)
    assert [place for place in places(error) if __name__.rpartition(".")[2] not in place] == []


@tried(40)
@given(status=st.sampled_from(STATUSES), headers=headers, body=bodies)
@example(status=304, headers={"ETag": '"1"'}, body=b"")
@example(status=200, headers={"ETag": "\xa0\xff"}, body=b'{"instance_id": "ID"}')
@example(status=503, headers={"Retry-After": "9" * 5000}, body=b"")
def test_any_answer(
    *,
    status: int,
    headers: dict[str, str],
    body: bytes,
    server: ScriptedServer,
    resolver: InstanceResolver,
    call: Twin,
) -> None:
    """An answer is a config of the right id under status 200 only; asked again it is safe, too."""
    asked = f"ID{next(numbers)}"
    server.answers = Answer(status, body.replace(b"ID", asked.encode()), headers)
    context = LookupContext(LookupUser.service(), instance_id=asked)
    steps: list[tuple[str, Any]] = [("resolve", context), ("refresh", asked), ("resolve", context)]
    for verb, argument in steps:
        try:
            result: LookupResult = call(resolver, verb, argument)
        except InstanceLookupError as error:
            assert_of_kind(error, status)
        else:
            assert (status, result.config.instance_id) == (200, asked)
