"""What an event means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_lookup.conf import get_settings
from instance_lookup.push.changes import TYPES, Change, parse

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES, "instance.created", ""]) | ANY},
    optional={
        "timestamp": ANY,
        "data": ANY
        | st.fixed_dictionaries(
            {},
            optional={
                "instance_id": st.just("acme") | ANY,
                "project_id": st.just("shop") | ANY,
            },
        ),
    },
)


def event(event_type: str, **data: object) -> bytes:
    return json.dumps({"type": event_type, "timestamp": "…", "data": data}).encode()


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (event("instance.updated", instance_id="acme"), Change("instance", "acme", expires=True)),
        (event("instance.deleted", instance_id="acme"), Change("instance", "acme", expires=False)),
        (event("instance.revoked", instance_id="acme"), Change("instance", "acme", expires=False)),
        (event("project.updated", project_id="shop"), Change("project", "shop", expires=False)),
        (event("project.deleted", project_id="shop"), Change("project", "shop", expires=False)),
    ],
)
def test_known_events(body: bytes, change: Change) -> None:
    """Of an updated instance the copy stays for outages; what is gone is not served again."""
    assert parse(body) == change


@pytest.mark.parametrize("kind", ["instance", "project"])
def test_event_names_both(kind: str) -> None:
    """The type says which of two ids is meant; what else there is says nothing."""
    body = event(f"{kind}.deleted", instance_id="acme", project_id="shop", more={"x": [1]})
    assert parse(body) == Change(kind, "acme" if kind == "instance" else "shop", expires=False)


@pytest.mark.parametrize("event_type", ["instance.created", "", "INSTANCE.UPDATED", "instance"])
def test_unknown_type(event_type: str) -> None:
    """A service may have more to tell than this release knows of."""
    assert parse(event(event_type)) is None
    assert parse(json.dumps({"type": event_type}).encode()) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an event: Input data was truncated"),
        (b"[]", "not an event: Expected `object`, got `array`"),
        (b"{}", "missing required field `type`"),
        (b'{"type": 1}', "Expected `str`, got `int`"),
        (b"\xff", "not an event: JSON is malformed"),
        (b'{"type": "x"} y', "trailing characters"),
        (b'{"type": "\\ud800"}', "not an event"),
        (b'{"type": "x", "data": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested too deeply"),
        (b'{"type": "x", "type": "project.deleted"}', "the same name twice"),
        (
            b'{"type":"project.deleted","data":{"project_id":"a","project_id":"b"}}',
            "the same name twice",
        ),
        (b'{"type": "project.deleted"}', "Expected `object`, got `null`"),
        (event("instance.deleted", project_id="shop"), "instance_id is missing"),
        (event("project.deleted", instance_id="acme"), "project_id is missing"),
        (event("project.deleted", project_id=None), "Expected `str`, got `null`"),
        (event("instance.deleted", instance_id="../etc"), "'../etc', which is no id"),
        (event("instance.deleted", instance_id="acme\n"), "which is no id"),
        (event("instance.deleted", instance_id="x" * 5000), "x', which is no id"),
    ],
)
def test_no_event(body: bytes, said: str) -> None:
    """What is no event is refused, with words for the people who run the sender."""
    with pytest.raises(ValueError, match=r"^(not an event|data of)") as refused:
        parse(body)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250


@given(EVENTS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_any_body(body: bytes) -> None:
    """Any bytes are an event whose id is one, or of an unknown type, or a ``ValueError``."""
    try:
        change = parse(body)
    except ValueError:
        return
    if change is not None:
        assert get_settings().id_regex.fullmatch(change.id)
