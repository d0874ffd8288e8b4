"""The order of identifiers, and the rule that an invalid one is never skipped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from instance_lookup.context import LookupContext
from instance_lookup.exceptions import InvalidContext
from instance_lookup.identifiers import (
    HeaderIdentifier,
    InstanceRef,
    PathIdentifier,
    ProjectIdentifier,
    ProjectRef,
    SubdomainIdentifier,
    UserDefaultIdentifier,
)
from instance_lookup.resolution.selection import Selector
from instance_lookup.users import LookupUser
from tests.behaviour.which.test_identifiers import DEFAULTS, SETTINGS, context_of

# No time limit an example: the machine may be busy with other things.
unhurried = settings(deadline=None)

EXPLICIT = (HeaderIdentifier(), PathIdentifier(), SubdomainIdentifier("example.com"))


def select(context: LookupContext, *identifiers: Any) -> Any:
    return Selector(identifiers or DEFAULTS, SETTINGS).select(context)


def test_given_id_is_taken_before_all_others() -> None:
    """An id that the caller gives is used without a request and without identifiers."""
    context = LookupContext(LookupUser("7", default_instance_id="x"), "acme")
    assert select(context) == InstanceRef("acme")


@pytest.mark.parametrize("header", ["b", "a,b"])
def test_given_id_beside_a_header(header: str) -> None:
    """When the calling code gives an id, a client's header is not read."""
    context = structs.replace(context_of(HTTP_X_INSTANCE_ID=header), instance_id="a")
    assert select(context) == InstanceRef("a")


def test_given_id_beside_the_header_of_a_project() -> None:
    """An instance that the code gives need not belong to a project that a header names."""
    context = structs.replace(context_of(HTTP_X_PROJECT_ID="p1"), instance_id="a")
    assert select(context) == InstanceRef("a")


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize(
    ("url", "fields", "extra"),
    [
        ("/p/p1/", {"instance_id": "a"}, {}),
        ("/opt/", {"instance_id": "a", "project_id": "p1"}, {}),
        ("/p/p2/", {"instance_id": "a", "project_id": "p1"}, {}),
        ("/p/p1/", {}, {"HTTP_X_INSTANCE_ID": "a"}),
        ("/opt/", {"project_id": "p1"}, {"HTTP_X_INSTANCE_ID": "a"}),
        ("/ip/a/p1/", {}, {}),
        ("/p/p1/", {}, {"HTTP_HOST": "a.example.com"}),
    ],
)
def test_instance_comes_with_the_project(
    url: str, fields: dict[str, Any], extra: dict[str, Any], routed: bool
) -> None:
    """A named instance must belong to the project of the URL or the context."""
    context = structs.replace(context_of(url, routed=routed, **extra), **fields)
    ref = select(context, *EXPLICIT, ProjectIdentifier(), UserDefaultIdentifier())
    assert ref == InstanceRef("a", within=ProjectRef("p1"))


def test_given_id_without_a_request_comes_with_the_project() -> None:
    """A job's instance must belong to the project that is given with it."""
    context = LookupContext(LookupUser("7"), "acme", "p1")
    assert select(context) == InstanceRef("acme", within=ProjectRef("p1"))


def test_given_id_and_malformed_project() -> None:
    """A malformed project fails the lookup, though a valid instance is named."""
    with pytest.raises(InvalidContext, match="not a valid project id"):
        select(LookupContext(LookupUser("7"), "acme", "a b"))


def test_given_id_on_a_site_without_projects() -> None:
    """Where no identifier knows projects, a project beside the id is ignored."""
    context = structs.replace(context_of("/p/p1/"), instance_id="a", project_id="p1")
    assert select(context, HeaderIdentifier()) == InstanceRef("a")


@pytest.mark.parametrize(
    ("extra", "ref"),
    [
        ({"HTTP_X_INSTANCE_ID": "h", "HTTP_X_PROJECT_ID": "p"}, InstanceRef("h")),
        ({"HTTP_X_PROJECT_ID": "p"}, ProjectRef("p")),
        ({}, InstanceRef("d")),
    ],
)
def test_first_that_names_something_wins(extra: dict[str, Any], ref: object) -> None:
    """The first of header, project and user's default that names an instance is used."""
    assert select(context_of(default="d", **extra)) == ref


def test_nothing_named() -> None:
    """The error says what a client can do about it."""
    with pytest.raises(InvalidContext, match="names no instance: send X-Instance-ID, or give the"):
        select(context_of())


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "a,b", "a,a", "a, b", "-a", "_a", "a/b", "..", "a b", " a", "a ", "a\n", "*"),
        *("é", "\u0663", "\uff41", "a\u200b", "a\0", "x" * 65, "x" * 10**5, "%61", "a\r\nX:"),
    ],
    ids=lambda value: quote(value)[:60],
)
@pytest.mark.parametrize("header", ["HTTP_X_INSTANCE_ID", "HTTP_X_PROJECT_ID"])
def test_malformed_header_never_falls_through(header: str, value: str) -> None:
    """A malformed header is an error: the user's default must not be used instead."""
    with pytest.raises(InvalidContext, match=r"is not a valid (instance|project) id") as caught:
        select(context_of(default="fine", **{header: value}))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 250


def test_malformed_id_is_named() -> None:
    """The message has the value, the kind and the pattern."""
    with pytest.raises(InvalidContext) as caught:
        select(context_of(HTTP_X_INSTANCE_ID="a,b"))
    assert str(caught.value) == (
        "'a,b' is not a valid instance id (one that matches [A-Za-z0-9][A-Za-z0-9_-]{0,63})."
    )


@pytest.mark.parametrize("value", ["", "a b", 5, True, b"acme", ["acme"]])
def test_malformed_given_id(value: Any) -> None:
    """A given id must be a string that matches the pattern."""
    with pytest.raises(InvalidContext, match="is not a valid instance id"):
        select(LookupContext(LookupUser("7", default_instance_id="fine"), instance_id=value))
    with pytest.raises(InvalidContext, match="is not a valid project id"):
        select(LookupContext(LookupUser("7", default_instance_id="fine"), project_id=value))


@unhurried
@given(st.text(max_size=80))
def test_id_is_taken_exactly_or_refused(value: str) -> None:
    """An id is returned as it was sent, character for character, or not at all."""
    context = LookupContext(LookupUser("7"), instance_id=value)
    if SETTINGS.id_regex.fullmatch(value):
        assert value.isascii()
        assert select(context) == InstanceRef(value)
    else:
        with pytest.raises(InvalidContext):
            select(context)


def test_malformed_path_never_falls_through() -> None:
    """A malformed path is an error: the user's default must not be used instead."""
    with pytest.raises(InvalidContext, match=r"'a\\nb' is not a valid"):
        select(context_of("/i/a%0Ab/", default="fine"), PathIdentifier(), UserDefaultIdentifier())


def test_nested_subdomain_never_falls_through() -> None:
    """The subdomain `a.b` is malformed, and is neither the instance `a` nor `b`."""
    with pytest.raises(InvalidContext, match=r"'a\.b' is not a valid instance id"):
        select(
            context_of(HTTP_HOST="a.b.example.com", default="fine"),
            SubdomainIdentifier("example.com"),
            UserDefaultIdentifier(),
        )


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("/i/b/", {"HTTP_X_INSTANCE_ID": "a"}),
        ("/", {"HTTP_X_INSTANCE_ID": "a", "HTTP_HOST": "b.example.com"}),
        ("/i/a/", {"HTTP_HOST": "b.example.com"}),
        ("/i/a/", {"HTTP_X_INSTANCE_ID": "a", "HTTP_HOST": "b.example.com"}),
        ("/i/b/", {"HTTP_X_INSTANCE_ID": "a", "HTTP_HOST": "a.example.com"}),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_explicit_ids_that_disagree(url: str, extra: dict[str, Any], turn: int) -> None:
    """Two different explicit ids are an error, in either order."""
    with pytest.raises(InvalidContext, match=r"names two instances: '[ab]' and '[ab]'"):
        select(context_of(url, **extra), *EXPLICIT[::turn])


def test_explicit_ids_that_differ_in_case_disagree() -> None:
    """Ids that differ in case only are two different ids."""
    with pytest.raises(InvalidContext, match="names two instances: 'A' and 'a'"):
        select(context_of("/i/a/", HTTP_X_INSTANCE_ID="A"), *EXPLICIT)


def test_explicit_ids_that_agree() -> None:
    """The same id named three times is one instance."""
    context = context_of("/i/a/", HTTP_X_INSTANCE_ID="a", HTTP_HOST="a.example.com")
    assert select(context, *EXPLICIT) == InstanceRef("a")


def test_explicit_id_after_a_project() -> None:
    """The order of `IDENTIFIERS` decides, but a malformed explicit id still fails."""
    identifiers = (ProjectIdentifier(), PathIdentifier())
    assert select(context_of("/ip/a/p1/"), *identifiers) == ProjectRef("p1")
    with pytest.raises(InvalidContext, match="'a,b' is not a valid instance id"):
        select(context_of("/ip/a,b/p1/"), *identifiers)


@pytest.mark.parametrize("wrong", ["acme", 5, SimpleNamespace(instance_id="acme")])
def test_custom_identifier_of_the_wrong_type(wrong: object) -> None:
    """A project's own identifier that returns the bare id is told what to return."""
    custom = SimpleNamespace(identify=lambda context, request: wrong)
    with pytest.raises(TypeError, match=r"identify\(\) must return an InstanceRef, a "):
        select(context_of(), custom)
