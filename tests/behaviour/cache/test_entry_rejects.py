"""Nothing that stands in the cache or comes from the service is believed unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instance_lookup.cache.entry import (
    Rejected,
    read_document,
)
from instance_lookup.cache.kinds import PROJECT, encode_document, instance_kind
from instance_lookup.conf import Settings
from instance_lookup.types import InstanceConfig
from tests.units.test_entry import CONFIG, INSTANCE, packed, unpacked

# No time limit an example: the machine may be busy with other things.
unhurried = settings(deadline=None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def shortened(value: str | bytes) -> str:
    """Name a test after its input, as far as that is of a reasonable length."""
    return ascii(value)[:60]


ENVELOPE = json.loads(packed())
DEEP = "[" * 100_000
REQUIRED = sorted(ENVELOPE.keys() - {"etag"})
WRONG: dict[str, list[Any]] = {
    "v": [0, 2, "1", None, True, 1.5],
    "instance_id": ["ACME", "acme ", "", None, 5],
    "config": [[], {}, "x", 5, {"instance_id": "acme", "api_keys": [1]}],
    "cached_at": ["now", None],
    "ttl": ["x"],
    "generation": [5],
    "etag": [5],
}


@pytest.mark.parametrize(
    "stored",
    [
        *["", " ", "null", "[]", "5", '"x"', "{}", "not json", packed()[:-1], packed() + "x", "\0"],
        *[b"\x80\x04K\x05.", b"\xff\xfe", "\ud800", DEEP, '{"config":' + DEEP, b"gAAAAAB"],
        packed().encode("utf-16"),
        packed(asked="other"),
        packed(encode_document(InstanceConfig(instance_id="other"))),
        packed(b'{"instance_id": "acme", "r2_bucket": "@"}').encode().replace(b"@", b"\xff"),
        *(json.dumps({**ENVELOPE, name: wrong}) for name in WRONG for wrong in WRONG[name]),
        *(json.dumps({k: v for k, v in ENVELOPE.items() if k != gone}) for gone in REQUIRED),
    ],
    ids=shortened,
)  # fmt: skip
def test_unpack_rejects(stored: str | bytes) -> None:
    """Corrupt, cut off, foreign, of another id or release: one kind of error for all."""
    with pytest.raises(Rejected):
        unpacked(stored)


@unhurried
@given(st.binary() | st.text() | json_values.map(json.dumps))
@example(packed().replace("300", "1e999"))
@example(packed().replace("1000000.0", "-1e308"))
def test_unpack_raises_nothing_else(stored: str | bytes) -> None:
    """Reading any stored value gives an entry, nothing, or `Rejected`; it raises nothing else."""
    try:
        entry = unpacked(stored)
    except Rejected:
        return
    assert entry is None or entry.document == CONFIG


@unhurried
@given(st.sampled_from(sorted(ENVELOPE)), json_values)
def test_unpack_of_a_changed_field(name: str, value: object) -> None:
    """An entry with one changed field is rejected, or is still of the id that was asked for."""
    try:
        entry = unpacked(json.dumps({**ENVELOPE, name: value}))
    except Rejected:
        return
    assert entry is None or entry.document is None or entry.document.instance_id == "acme"


@unhurried
@given(st.binary(max_size=60), st.integers(0, len(packed()) - 1))
def test_unpack_of_a_damaged_entry(noise: bytes, at: int) -> None:
    """An entry with overwritten bytes is rejected, or is still of the id that was asked for."""
    stored = packed().encode()
    try:
        entry = unpacked(stored[:at] + noise + stored[at + len(noise) :])
    except Rejected:
        return
    assert entry is None or entry.document is None or entry.document.instance_id == "acme"


@unhurried
@given(json_values.map(json.dumps).map(str.encode) | st.binary())
def test_read_document_raises_nothing_else(body: bytes) -> None:
    """Any answer of the Config Service is the right document or `Rejected`, and nothing else."""
    try:
        accepted = read_document(INSTANCE, "acme", body)
    except Rejected:
        return
    assert accepted.document.instance_id == "acme"


@pytest.mark.parametrize(
    "body",
    [DEEP.encode(), b'{"a":' * 10**5, b"null", b"", b"\xef\xbb\xbf{}"],
    ids=shortened,
)
def test_read_document_rejects(body: bytes) -> None:
    """Nested too deeply, empty, or "null", which in the cache would mean "does not exist"."""
    with pytest.raises(Rejected):
        read_document(INSTANCE, "acme", body)


class Picky(InstanceConfig, frozen=True):
    def __post_init__(self) -> None:
        super().__post_init__()
        raise LookupError(f"no {self.api_keys['a']}")


def test_read_document_of_a_class_that_raises() -> None:
    """An error of a `CONFIG_CLASS` is a rejection, without its message: it may hold a key."""
    with pytest.raises(Rejected) as caught:
        read_document(instance_kind(Picky), "acme", b'{"instance_id":"acme","api_keys":{"a":"k9"}}')
    assert "k9" not in str(caught.value)


@pytest.mark.parametrize("pointed_to", ["", "a,b", "a/b", "../acme", "acme\\n"])
def test_project_that_names_no_instance_id(pointed_to: str) -> None:
    """The service's word is no reason to put anything into a URL or a cache key."""
    kind = replace(PROJECT, points_to=Settings().id_regex)
    body = f'{{"project_id": "p1", "instance_id": "{pointed_to}"}}'.encode()
    with pytest.raises(Rejected, match="names something that is no instance id"):
        read_document(kind, "p1", body)


class Choosy(InstanceConfig, frozen=True, forbid_unknown_fields=True):
    plan: Literal["small", "large"] = "small"


CHOOSY = "tests.behaviour.cache.test_entry_rejects.Choosy"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ('"plan":"k9\\nk9"', f"field `plan` of {CHOOSY}: Invalid enum value"),
        ('"plan":"k9 - at `$.a` k9"', f"field `plan` of {CHOOSY}: Invalid enum value"),
        ('"k9\\nk9":1', f"{CHOOSY}: Object contains unknown field"),
    ],
)
def test_rejected_document_is_not_repeated(fields: str, said: str) -> None:
    """An error message repeats no value and no name of the document that was rejected."""
    with pytest.raises(Rejected) as caught:
        read_document(instance_kind(Choosy), "acme", f'{{"instance_id":"acme",{fields}}}'.encode())
    assert str(caught.value) == f"not a valid instance document: {said}"
