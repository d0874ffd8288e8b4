from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import instance_lookup
from instance_lookup import (
    CacheError,
    InstanceLookupError,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from tests.support.documents import ACME, config_service, table
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER = LookupContext(LookupUser("1"), instance_id="acme")
ADMIN = LookupContext(LookupUser("ada", roles=("admin",)), instance_id="acme")


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    with config_service() as server:
        yield server


def answers_of(cell: str) -> list[Answer]:
    """Return what a row of the table is about."""
    body = json.dumps(ACME).encode()
    if "any other body" in cell:
        return [Answer(status, b"<p>", {"Content-Type": "text/html"}) for status in (404, 410)]
    if "in another spelling" in cell:
        return [Answer(200, json.dumps({**ACME, "instance_id": "Acme"}).encode())]
    if "but not JSON" in cell:
        return [
            Answer(200, wrong)
            for wrong in (b"<p>", b'{"api_keys": 3}', body + b" " * 2**20, b'{"instance_id": "b"}')
        ]
    return [Answer(int(status), body) for status in re.findall(r"\b[2-5]\d\d\b", cell)]


def outcome(resolver: InstanceResolver, context: LookupContext = OWNER) -> str:
    try:
        return resolver.resolve(context).source.value
    except InstanceLookupError as exc:
        return str(exc.status_code)


ANSWERS = [
    (answer, does, copy) for cell, does, copy in table("README.md", "The service")
    for answer in answers_of(cell)
]  # fmt: skip


@pytest.mark.parametrize(("answer", "does", "copy"), ANSWERS)
def test_table_of_answers_with_a_copy(
    service: ScriptedServer, answer: Answer, does: str, copy: str
) -> None:
    """The table says what a caller gets for each answer while a copy is cached."""
    resolver = InstanceResolver(config_service_url=service.url)
    assert outcome(resolver) == "service"
    resolver.cache.expire("acme")
    service.answers = answer
    expected = {"served": "service", "the stale": "stale_cache", "403": "403", "404": "404"}
    assert outcome(resolver) == next(v for k, v in expected.items() if does.startswith(k))
    service.answers = Answer(500)
    resolver.cache.expire("acme")
    assert outcome(resolver, ADMIN) == ("503" if copy.startswith("dropped") else "stale_cache")


@pytest.mark.parametrize(("answer", "does", "copy"), ANSWERS)
def test_table_of_answers_without_a_copy(
    service: ScriptedServer, answer: Answer, does: str, copy: str
) -> None:
    """The table says what a caller gets for each answer when nothing is cached."""
    service.answers = answer
    expected = {"served": "service", "the stale": "503", "403": "403", "404": "404"}
    found = outcome(InstanceResolver(config_service_url=service.url))
    # A 304 to a caller without a copy is a failure.
    assert found == (
        "503"
        if answer.status == 304
        else next(v for k, v in expected.items() if does.startswith(k))
    )


def test_table_of_errors() -> None:
    """The table has every error that users can meet, with its status."""
    shown = {name.strip("`"): int(status[:3]) for name, status, _ in table("README.md", "Error")}
    public = {name: getattr(instance_lookup, name) for name in instance_lookup.__all__}
    errors = {
        name: found.status_code
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, InstanceLookupError)
        if found not in {InstanceLookupError, CacheError}  # the base; of management
    }
    assert shown == errors
