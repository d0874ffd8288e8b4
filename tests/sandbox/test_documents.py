"""The table of configurations: the OpenAPI file and the reference service agree with the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from config_service.validators import CHECKS, URL_PATTERN
from django.core.exceptions import ValidationError
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from instance_lookup.types import HTTP_URL
from tests.sandbox.test_openapi import CONTRACT
from tests.support.config_documents import TABLE, Row

if TYPE_CHECKING:
    from config_service.process import ServiceAdmin

    from tests.sandbox.service import Api

SCHEMA = OAS31Validator(
    {"$ref": "#/components/schemas/Instance", "components": CONTRACT["components"]},
    format_checker=oas31_format_checker,
)


def name(row: Row) -> str:
    return ascii(row.name)


def is_taken(field: str, value: Any) -> bool:
    """Tell whether the admin of the reference service would save it."""
    try:
        CHECKS[field](value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_contract_allows_what_the_table_says(row: Row) -> None:
    """The contract allows what the table says, and not what the client forgives."""
    assert SCHEMA.is_valid(row.document) is row.is_contract


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.fields and row.fields.keys() <= CHECKS.keys()], ids=name
)
def test_reference_service_takes_what_the_contract_allows(row: Row) -> None:
    """The reference service accepts exactly what the contract allows."""
    taken = all(is_taken(field, value) for field, value in row.fields.items())
    assert taken is row.is_contract


@pytest.mark.parametrize("row", [row for row in TABLE if row.is_contract], ids=name)
def test_contract_allows_only_what_the_client_uses_whole(row: Row) -> None:
    """The client leaves out nothing that the contract allows."""
    assert row.becomes is not None
    assert row.left_out == ()


def test_pattern_of_worker_urls_is_one() -> None:
    """The pattern of worker URLs is the same in client, contract and reference service."""
    workers = CONTRACT["components"]["schemas"]["Instance"]["properties"]["worker_urls"]
    assert workers["additionalProperties"]["pattern"] == HTTP_URL == URL_PATTERN


def test_limit_typed_as_a_float_is_served_as_an_integer(
    api: Api, service_admin: ServiceAdmin, instance_id: str
) -> None:
    """A limit typed as 60.0 is stored and served as 60."""
    limits = {"render": {"rpm": 60.0, "daily": 5.0}}
    service_admin.set(f"instance/{instance_id}", rate_limits=limits)

    text = api.ask(f"/instances/{instance_id}").text
    assert '"render":{"daily":5,"rpm":60,"rpm_burst":null}' in text.replace(" ", "")
