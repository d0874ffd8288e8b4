"""Keys, lives and faults of the entries in a cache alias."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import ANY

import pytest
from django.core.cache import caches
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.test import override_settings

from instance_lookup import CacheError
from instance_lookup.cache.codec import Codec
from instance_lookup.cache.entry import Freshness
from tests.support.lookups import SECRET, HookedCache, hooks
from tests.support.stores import (
    BODY,
    ENTRY,
    EVERYTHING,
    EXPIRY,
    NOW,
    OWN,
    Store,
    fill,
    generation,
    is_served,
    make_store,
    provide_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.cache.entry import Generation


class MemcachedKeys(HookedCache):
    """A cache that refuses what memcached refuses as a key."""

    validate_key = BaseMemcachedCache.validate_key


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    yield from provide_store(monkeypatch)


def test_stored_form(store: Store) -> None:
    """An entry is the documented JSON, with the service's own document in it to the letter."""
    fill(store)
    stored = caches["default"].get(ENTRY)
    assert BODY.decode() in stored
    assert json.loads(stored) == {
        "v": 1,
        "instance_id": "acme",
        "config": json.loads(BODY),
        "cached_at": NOW,
        "ttl": 300,
        "generation": ANY,
        "etag": '"e"',
    }


def test_lives(store: Store) -> None:
    """A generation outlives the entries stored under it; the global one never expires."""
    fill(store)
    assert HookedCache.lives[ENTRY] == 3600
    assert HookedCache.lives[OWN] == 3660
    assert HookedCache.lives[EVERYTHING] is None


def test_lives_unknown_id(store: Store) -> None:
    """Unknown ids are kept in the cache for a short time only."""
    store.write_missing("acme", generation=generation(store), asked_at=NOW)
    assert HookedCache.lives[ENTRY] == 30
    assert HookedCache.lives[OWN] == 5 + 30 + 60


def test_lives_after_invalidation(store: Store) -> None:
    """What an invalidation writes outlives each entry that it invalidates."""
    store.invalidate("acme")
    store.expire("acme")
    store.invalidate_all()
    assert HookedCache.lives[OWN] == HookedCache.lives[EXPIRY] == 3660
    assert HookedCache.lives[EVERYTHING] is None


@pytest.mark.parametrize(
    "asked", ["with space", "line\nbreak", "jörg@example.org", "x" * 300, "\x7f", "\udc80"]
)
def test_keys_of_odd_ids(asked: str, store: Store) -> None:
    """Each id that INSTANCE_ID_PATTERN accepts makes a key that memcached accepts too."""
    with override_settings(
        CACHES={"default": {"BACKEND": "tests.behaviour.cache.test_store.MemcachedKeys"}}
    ):
        store.read(asked)
        store.expire(asked)
        assert store.invalidate(asked) is False
        assert all(key.isascii() and key.isprintable() for key in HookedCache.lives)


def test_keys_of_odd_ids_keep_entries_apart(store: Store) -> None:
    """An id that looks like the key of another one finds nothing of it."""
    first, second = "a b", "a c"
    fill(store, b'{"instance_id": "a b"}', first)
    assert is_served(store, first)
    assert not is_served(store, second)
    store.invalidate(second)
    assert is_served(store, first)


def test_generation_of_digits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation is never all digits: django-redis would give it back as a number."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "1" * 2 * size)
    assert not generation(store).own.isdigit()


@pytest.mark.parametrize("overtaken_by", ["invalidate", "invalidate_all"])
def test_missing_and_invalidated_in_between(store: Store, overtaken_by: str) -> None:
    """A 404 that is written after an invalidation does not undo it."""
    started_under = generation(store)

    def overtake(verb: str, key: str) -> None:
        if (verb, key) == ("set", OWN):
            HookedCache.hook = None
            getattr(make_store(), overtaken_by)(*["acme"][: overtaken_by == "invalidate"])

    with hooks(overtake):
        store.write_missing("acme", generation=started_under, asked_at=NOW)
    entry = store.read("acme").entry
    assert entry is None or entry.freshness.value == "stale"


def test_minted_by_another_meanwhile(store: Store) -> None:
    """Two processes that write a generation at once agree on one, also without atomic "add"."""
    theirs: list[Generation] = []

    def overtake(verb: str, key: str) -> None:
        if (verb, key) == ("add", OWN) and not theirs:
            theirs.append(generation(store))

    with hooks(overtake):
        assert [generation(store)] == theirs


def test_peek_leaves_no_trace(store: Store) -> None:
    """Looking mints nothing, counts nothing and deletes nothing."""
    assert store.peek("acme").entry is None
    assert not HookedCache.lives


def test_peek_entry(store: Store) -> None:
    """Looking shows the entry; its value, which holds keys, is not in the repr."""
    fill(store)
    look = store.peek("acme")
    assert look.entry is not None
    assert look.entry.etag == '"e"'
    assert SECRET not in repr(look)


def test_peek_unknown_generation(store: Store) -> None:
    """Without its generation a stored value is no entry."""
    fill(store)
    caches["default"].delete(OWN)
    look = store.peek("acme")
    assert look.stored is not None
    assert look.entry is None


def test_peek_foreign_entry(store: Store) -> None:
    """A foreign value is shown as unreadable, and left in the cache."""
    fill(store)
    caches["default"].set(ENTRY, "{}", None)
    assert store.peek("acme").unreadable
    assert caches["default"].get(ENTRY) == "{}"


@pytest.mark.parametrize(("raised", "fails"), [(EOFError, False), (OSError, True)])
def test_peek_backend_raises(store: Store, raised: type[Exception], fails: bool) -> None:
    """A value that cannot be read is told apart from a cache that cannot be reached."""

    def fail(verb: str, key: str) -> None:
        raise raised

    with hooks(fail):
        if not fails:
            assert store.peek("acme").unreadable
            return
        with pytest.raises(CacheError):
            store.peek("acme")


@pytest.mark.extras
def test_encrypted_and_compressed() -> None:
    """Encrypted or compressed entries hide the keys, and are foreign to a store without them."""
    store = make_store(encryption_keys=["x" * 43 + "="], compress_above=10)
    fill(store)
    assert is_served(store)
    assert SECRET not in caches["default"].get(ENTRY)
    assert not is_served(make_store())


def test_entry_is_decoded_once(store: Store) -> None:
    """The same stored text gives the same decoded entry; its freshness is checked each time."""
    fill(store)
    first, again = store.read("acme").entry, store.read("acme").entry
    assert first is not None
    assert first is again
    store.expire("acme")
    stale = store.read("acme").entry
    assert stale is not None
    assert stale.document is first.document
    assert (first.freshness, stale.freshness) == (Freshness.FRESH, Freshness.STALE)


def test_remembered_entry_is_never_more_than_the_cache_holds(store: Store) -> None:
    """A decoded entry is reused only while the cache holds the same text for the same id."""
    fill(store)
    assert is_served(store)
    kept = caches["default"].get(ENTRY)
    for changed in (kept.replace('"v":1', '"v":2'), kept[:-1], b"{}", 7, None):
        caches["default"].set(ENTRY, changed)
        assert not is_served(store)
    caches["default"].set("instance_config:other", kept)
    caches["default"].set("instance_generation:other", caches["default"].get(OWN))
    assert not is_served(store, "other")
    caches["default"].set(ENTRY, kept)
    assert is_served(store)
    store.invalidate("acme")
    caches["default"].set(ENTRY, kept)
    assert not is_served(store)


def test_long_entry_is_not_remembered(store: Store) -> None:
    """A long entry is decoded each time, so that the memory used has a bound."""
    fill(store)
    assert is_served(store)
    fill(store, b'{"instance_id": "acme", "r2_bucket": "%s"}' % (b"x" * 40_000))
    first, again = store.read("acme").entry, store.read("acme").entry
    assert first is not None
    assert again is not None
    assert first == again
    assert first.document is not again.document


def test_remembered_entry_spares_decompression(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoded entry is found by its stored form, which is neither decompressed nor decrypted."""
    store = make_store(compress_above=1)
    fill(store)
    first = store.read("acme").entry
    monkeypatch.setattr(Codec, "decode", pytest.fail)
    assert store.read("acme").entry is first is not None
