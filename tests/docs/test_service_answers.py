"""docs/reference/service-answers.md, and what docs/reference/commands.md says of revoking."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from instance_lookup import (
    InstanceLookupError,
    InstanceResolver,
    LookupContext,
    LookupUser,
    get_resolver,
)
from tests.support.documents import ACME, config_service, table
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "service-answers.md"
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
        assert "any other 2xx" in cell
        return [
            Answer(200, wrong)
            for wrong in (b"<p>", b'{"api_keys": 3}', body + b" " * 2**20, b'{"instance_id": "b"}')
        ] + [Answer(201, body), Answer(204), Answer(206, body)]
    return [Answer(int(status), body) for status in re.findall(r"\b[2-5]\d\d\b", cell)]


def outcome(resolver: InstanceResolver, context: LookupContext = OWNER) -> str:
    try:
        return resolver.resolve(context).source.value
    except InstanceLookupError as exc:
        return str(exc.status_code)


ANSWERS = [
    (answer, does, copy) for cell, does, copy in table(PAGE, "The service")
    for answer in answers_of(cell) if cell != "304 otherwise"
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


def test_not_modified_about_a_copy_without_an_etag(service: ScriptedServer) -> None:
    """The table says what a caller gets for a 304 to a question that named no `ETag`."""
    rows = {cell: (does, copy) for cell, does, copy in table(PAGE, "The service")}
    assert rows["304 otherwise"] == ("the stale copy, else 503", "kept")
    resolver = InstanceResolver(config_service_url=service.url)
    service.answers = Answer(304)
    assert outcome(resolver) == "503"
    service.answers = Answer(200, json.dumps(ACME).encode())
    resolver.cache.invalidate("acme")
    assert outcome(resolver) == "service"
    service.answers = Answer(304)
    resolver.cache.expire("acme")
    assert outcome(resolver) == "stale_cache"
    service.answers = Answer(500)
    resolver.cache.expire("acme")
    assert outcome(resolver) == "stale_cache"


@pytest.mark.parametrize(("row", "options"), [(0, []), (1, ["--expire"]), (2, ["--block", "24h"])])
@pytest.mark.parametrize(("column", "is_down"), [(1, False), (2, True)])
def test_table_of_revocation(
    service: ScriptedServer, row: int, options: list[str], column: int, *, is_down: bool
) -> None:
    """The table says what each way of revoking does to the next request, and in an outage."""
    cells = table("commands.md", "How")[row]
    assert " ".join(options) in cells[0]
    meant = {"asks": "service", "the copy": "stale_cache", "403": "403", "503": "503"}
    with override_settings(INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": service.url}):
        assert outcome(get_resolver()) == "service"
        call_command("invalidate_instance_cache", "acme", *options)
        if is_down:
            service.answers = Answer(503)
        expected = next(value for text, value in meant.items() if cells[column].startswith(text))
        assert outcome(get_resolver()) == expected


@pytest.mark.parametrize(("arguments", "code"), [("", 1), ("a*", 2), ("--all --no-input", 4)])
def test_exit_codes_of_revocation(arguments: str, code: int) -> None:
    """A script can tell "not done" from "done"; a failing cache is in the commands' own tests."""
    with pytest.raises(CommandError) as caught:
        call_command("invalidate_instance_cache", *arguments.split())
    assert caught.value.returncode == code
