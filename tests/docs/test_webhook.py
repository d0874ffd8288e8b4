"""What docs/reference/config-service.md and its OpenAPI file say of the webhook."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from openapi_schema_validator import OAS31Validator

from instance_lookup.endpoints.webhook import MOST_BYTES
from instance_lookup.push.changes import TYPES, Change, parse
from instance_lookup.push.limits import LIMITS
from instance_lookup.push.signature import TOLERANCE, NotSigned, sign, verify
from tests.support.documents import ROOT, SITE, Site, table
from tests.support.webhook import OTHER, SECRET, event

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extras

SECTION = (
    (ROOT / "docs" / "reference" / "config-service.md")
    .read_text(encoding="utf-8")
    .partition("\n## The webhook\n")[2]
    .partition("\n## ")[0]
)
HOOK: dict[str, Any] = yaml.safe_load(
    (ROOT / "docs" / "reference" / "config-service.openapi.yaml").read_text(encoding="utf-8")
)


def test_example_is_signed() -> None:
    """The delivery on the page is signed with the secret on the page, to the last byte."""
    example = re.findall("^    (.*)$", SECTION, re.MULTILINE)
    headers = dict(line.split(": ", 1) for line in example[1:-1])
    body, secret = example[-1].encode(), re.findall("`(whsec_[^`…]+)`", SECTION)[0]
    assert int(headers["Content-Length"]) == len(body)
    now = float(headers["webhook-timestamp"])
    assert verify(headers, body, [secret], now) == headers["webhook-id"]
    assert parse(body) == Change("instance", "acme", expires=True)


def test_page_has_every_type() -> None:
    """The table names each type of event that is acted on."""
    rows = [re.findall("`([^`]+)`", row[0]) for row in table("config-service.md", "`type`")]
    assert [name for row in rows for name in row] == list(TYPES)


def test_page_has_the_bounds() -> None:
    """The numbers on the page are those of the code."""
    assert f"A body has {MOST_BYTES:,} bytes" in SECTION
    assert f"more than {LIMITS['signed']:,} signed, or {LIMITS['unsigned']} unsigned" in SECTION
    assert TOLERANCE == 5 * 60


def test_page_has_every_reason() -> None:
    """A reader who sees in the log why a delivery was refused finds what to do about it."""
    page = (ROOT / "docs" / "operations" / "troubleshooting.md").read_text(encoding="utf-8")
    body, now, reasons = b"{}", 1_800_000_000, []
    for secret, timestamp, dropped in (
        (OTHER, now, ""),
        (SECRET, now - 301, ""),
        (SECRET, now + 301, ""),
        (SECRET, now, "webhook-id"),
        (SECRET, now, "webhook-signature"),
    ):
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, "msg_1", timestamp, body),
        }
        headers.pop(dropped, None)
        with pytest.raises(NotSigned) as raised:
            verify(headers, body, [SECRET], now)
        reasons.append(str(raised.value))
    words = page.partition("\n### The words in brackets\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", words, re.MULTILINE)
    phrases = [phrase for row in rows for phrase in re.findall("`([^`]+)`", row)]
    patterns = [".*".join(map(re.escape, phrase.split("…"))) for phrase in phrases]
    found = [sum(bool(re.fullmatch(each, reason)) for each in patterns) for reason in reasons]
    assert found == [1] * 5


def test_openapi_has_every_answer() -> None:
    """The file has the answers of the page, and the types of events that are acted on."""
    page = {code for row in table("config-service.md", "The site") for code in row[0].split(", ")}
    operation = HOOK["webhooks"]["change"]["post"]
    assert set(operation["responses"]) == {code for code in page if code.isdigit()}
    known = HOOK["components"]["schemas"]["Event"]["oneOf"][:2]
    assert [each for one in known for each in one["properties"]["type"]["enum"]] == list(TYPES)


def test_schema_of_events() -> None:
    """What the file calls an event has its effect or is ignored; what it does not is refused."""
    schema = HOOK["components"]["schemas"]["Event"] | {"components": HOOK["components"]}
    validator = OAS31Validator(schema)
    for event_type in [*TYPES, "instance.created"]:
        for data in ({"instance_id": "acme"}, {"project_id": "shop"}, {}, {"instance_id": "a b"}):
            body = {"type": event_type, "data": data}
            try:
                parse(json.dumps(body).encode())
            except ValueError:
                assert not validator.is_valid(body), body
            else:
                assert validator.is_valid(body), body


def test_site_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site of docs/how-to/changes.md passes the checks, and takes deliveries."""
    monkeypatch.setenv("CONFIG_WEBHOOK_SECRETS", f"{OTHER} {SECRET}")
    with Site(tmp_path, SITE).running():
        call_command("check", stderr=(shown := StringIO()))
        assert "W013" not in shown.getvalue()
        assert "W014" not in shown.getvalue()
        sent, url = event("instance.deleted"), "/instance-lookup/webhook/"
        options: dict[str, Any] = {"content_type": "application/json", "headers": sent.headers}
        assert Client().post(url, sent.body, **options).status_code == 204
