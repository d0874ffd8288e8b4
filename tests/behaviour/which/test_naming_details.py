"""What stands between two explicit ids, and what is said of one that is none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from instance_lookup.context import LookupContext
from instance_lookup.exceptions import InvalidContext
from instance_lookup.identifiers import (
    HeaderIdentifier,
    InstanceRef,
    PathIdentifier,
    SubdomainIdentifier,
    UserDefaultIdentifier,
)
from instance_lookup.users import LookupUser
from tests.behaviour.which.test_identifiers import context_of
from tests.behaviour.which.test_naming import select


def test_explicit_ids_disagree_past_another_identifier() -> None:
    """An identifier in between that is not needed hides no explicit one behind it."""
    identifiers = (HeaderIdentifier(), UserDefaultIdentifier(), PathIdentifier())
    with pytest.raises(InvalidContext, match="names two instances: 'a' and 'b'"):
        select(context_of("/i/b/", default="d", HTTP_X_INSTANCE_ID="a"), *identifiers)


def test_wrong_type_is_named() -> None:
    """The error for an identifier that returns something else is whole."""
    custom = SimpleNamespace(identify=lambda context, request: "acme")
    with pytest.raises(TypeError) as caught:
        select(context_of(), custom)
    assert str(caught.value) == (
        "identify() must return an InstanceRef, a ProjectRef or None, not str"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 97 + "!", repr("x" * 97 + "!")),
        ("x" * 98 + "!", "'" + "x" * 98 + "!…"),
        ("x" * 99, "'" + "x" * 99 + "…"),
    ],
)
def test_malformed_id_is_shown_up_to_a_length(value: str, shown: str) -> None:
    """A long id is cut, one that fits is not."""
    with pytest.raises(InvalidContext) as caught:
        select(LookupContext(LookupUser("7"), instance_id=value))
    assert str(caught.value).startswith(f"{shown} is not a valid instance id")


@pytest.mark.parametrize("host", ["www.example.com", "WWW.example.com:8000", "example.com"])
def test_host_of_the_site_itself_names_nothing(host: str) -> None:
    """What is the site's own host, by the default of `ignore`, leaves it to the next identifier."""
    identifiers = (SubdomainIdentifier("example.com"), UserDefaultIdentifier())
    assert select(context_of(HTTP_HOST=host, default="d"), *identifiers) == InstanceRef("d")


def test_projects_identifier_does_not_count_as_explicit() -> None:
    """A project's own identifier that does not say so may name another instance than the header."""
    own = SimpleNamespace(identify=lambda context, request: InstanceRef("b"))
    assert select(context_of(HTTP_X_INSTANCE_ID="a"), HeaderIdentifier(), own) == InstanceRef("a")
