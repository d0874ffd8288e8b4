from __future__ import annotations

import json
from typing import Any

import pytest

from instance_lookup.cache.entry import (
    Entry,
    Freshness,
    Generation,
    Rejected,
    freshness,
    pack,
    unpack,
)
from instance_lookup.cache.kinds import PROJECT, encode_document, instance_kind
from instance_lookup.types import InstanceConfig, InstanceMetadata, RateLimit

FRESH, STALE, PURGED = Freshness.FRESH, Freshness.STALE, Freshness.PURGED
INSTANCE = instance_kind(InstanceConfig)
NOW = 1_000_000.0
GENERATION = Generation("all", "own")
CONFIG = InstanceConfig(
    instance_id="acme",
    api_keys={"a": "k"},
    rate_limits={"a": RateLimit(rpm=1)},
    metadata=InstanceMetadata(owner="7"),
    features={"beta": True},
)
BODY = encode_document(CONFIG)

ConfigEntry = Entry[InstanceConfig]


def packed(body: bytes = BODY, asked: str = "acme", **changes: Any) -> str:
    fields: dict[str, Any] = {"generation": GENERATION, "cached_at": NOW, "ttl": 300, "etag": '"1"'}
    return pack(INSTANCE, asked, body, **{**fields, **changes}).decode()


def unpacked(stored: str | bytes, asked: str = "acme", **changes: Any) -> ConfigEntry | None:
    fields: dict[str, Any] = {"generation": GENERATION, "stale_max_age": 3600, "now": NOW}
    return unpack(INSTANCE, asked, stored).under(**{**fields, **changes})


@pytest.mark.parametrize(
    ("age", "state"),
    [
        *[(0, FRESH), (299, FRESH), (299.999, FRESH), (300, STALE), (301, STALE)],
        *[(3599, STALE), (3599.999, STALE), (3600, PURGED), (3601, PURGED), (1e12, PURGED)],
        *[(-4, FRESH), (-5, FRESH), (-5.001, STALE), (-6, STALE), (-1e9, STALE)],
        *[(float("inf"), PURGED), (float("-inf"), STALE)],
    ],
)
def test_freshness(age: float, state: Freshness) -> None:
    """Fresh below the ttl, purged from the total age on; from the future by over 5 s: stale."""
    found = freshness(cached_at=NOW - age, ttl=300, stale_max_age=3600, now=NOW)
    assert found is state


@pytest.mark.parametrize(
    ("ttl", "age", "state"),
    [(0, 0, STALE), (-1, 0, STALE), (7200, 3599, FRESH), (7200, 3600, PURGED)],
)
def test_freshness_of_odd_ttls(ttl: float, age: float, state: Freshness) -> None:
    """A long ttl ends at the limit of the total age."""
    assert freshness(cached_at=NOW - age, ttl=ttl, stale_max_age=3600, now=NOW) is state


def test_stored_form_is_the_documented_one() -> None:
    """JSON with the service's own document in it, to the letter: other readers rely on it."""
    stored = packed(b'{"instance_id": "acme",  "unknown": [1, 2]}')
    assert stored == (
        '{"v":1,"instance_id":"acme","config":{"instance_id": "acme",  "unknown": [1, 2]},'
        '"cached_at":1000000.0,"ttl":300,"generation":"all.own.","etag":"\\"1\\""}'
    )


@pytest.mark.parametrize("as_bytes", [True, False])
def test_unpack_gives_back_what_was_packed(as_bytes: bool) -> None:
    """Text or bytes, as the cache's serializer gives them back."""
    stored = packed()
    entry = unpacked(stored.encode() if as_bytes else stored)
    assert entry is not None
    assert (entry.document, entry.body, entry.freshness) == (CONFIG, BODY, FRESH)
    assert (entry.cached_at, entry.ttl, entry.etag) == (NOW, 300, '"1"')
    assert Generation.parse(entry.generation) == GENERATION


@pytest.mark.parametrize(
    ("later", "state", "remaining"),
    [(0, FRESH, 300), (299, FRESH, 1), (300, STALE, 0), (3599, STALE, 0), (-6, STALE, 0)],
)
def test_unpack_at_later_times(later: float, state: Freshness, remaining: float) -> None:
    """An entry becomes stale with time; then what remains of its ttl is zero."""
    entry = unpacked(packed(), now=NOW + later)
    assert entry is not None
    assert entry.freshness is state
    assert entry.ttl_remaining(NOW + later) == remaining


def test_unpack_purged() -> None:
    """An entry of the total age is as if absent, even where the backend still has it."""
    assert unpacked(packed(), now=NOW + 3600) is None


@pytest.mark.parametrize(
    "present", [Generation("new", "own"), Generation("all", "new"), Generation("al", "l.own")]
)
def test_unpack_of_another_generation(present: Generation) -> None:
    """An entry of an older generation counts as absent."""
    assert unpacked(packed(), generation=present) is None


@pytest.mark.parametrize(
    ("stored_under", "present", "state"),
    [
        *[("", "", FRESH), ("e1", "e1", FRESH), ("e1", "", FRESH)],
        *[("", "e1", STALE), ("e1", "e2", STALE)],
    ],
)
def test_unpack_expired(stored_under: str, present: str, state: Freshness) -> None:
    """An entry stored under another expiry is stale at any age; a missing expiry is no expiry."""
    stored = packed(generation=GENERATION._replace(expiry=stored_under))
    entry = unpacked(stored, generation=GENERATION._replace(expiry=present))
    assert entry is not None
    assert entry.freshness is state


def test_unpack_expired_and_old() -> None:
    """An old entry that is also expired is stale, and too old at the age limit."""
    entry = unpacked(packed(), generation=GENERATION._replace(expiry="e"), now=NOW + 400)
    assert entry is not None
    assert entry.freshness is STALE
    assert unpacked(packed(), generation=GENERATION._replace(expiry="e"), now=NOW + 3600) is None


def test_unpack_of_what_does_not_exist() -> None:
    """A remembered 404 is an entry without a document."""
    entry = unpacked(packed(b"null"))
    assert entry is not None
    assert entry.document is None


def test_new_config_class_reads_old_entries() -> None:
    """An entry is stored as it came, so a new config class finds new fields in it."""

    class Studio(InstanceConfig, frozen=True):
        palette: tuple[str, ...] = ()

    stored = packed(b'{"instance_id": "acme", "palette": ["red"]}')
    entry = unpack(instance_kind(Studio), "acme", stored)
    assert isinstance(entry.document, Studio)
    assert entry.document.palette == ("red",)


def test_project_entry_has_honest_names() -> None:
    """A project's entry says `project_id` and `project`, and is no instance's entry."""
    body = b'{"project_id": "p1", "instance_id": "acme"}'
    stored = pack(PROJECT, "p1", body, generation=GENERATION, cached_at=NOW, ttl=9, etag=None)
    assert json.loads(stored)["project_id"] == "p1"
    assert json.loads(stored)["project"] == json.loads(body)
    entry = unpack(PROJECT, "p1", stored)
    assert entry.document is not None
    assert entry.document.instance_id == "acme"
    with pytest.raises(Rejected):
        unpacked(stored, "p1")


@pytest.mark.parametrize("generation", [Generation("a", "b"), Generation("a", "b", "c")])
def test_generation_survives_its_token(generation: Generation) -> None:
    """The token of a generation can be parsed back."""
    assert Generation.parse(str(generation)) == generation


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", ".b.c", "a..c", "a.b.c.d", "..."])
def test_generation_of_no_token(token: str) -> None:
    """A text that is no token of a generation is named in the error, with where to get one."""
    with pytest.raises(ValueError, match="is not a generation; take it from generation"):
        Generation.parse(token)


def test_entry_shows_no_key() -> None:
    """An entry in a debug page does not show its document."""
    body = encode_document(InstanceConfig(instance_id="acme", api_keys={"a": "sk-SECRET"}))
    entry = unpacked(packed(body))
    assert entry is not None
    assert b"sk-SECRET" in bytes(entry.body)
    assert "sk-SECRET" not in f"{entry!r}{entry.body!r}"
