"""Backends that fail, swallow writes or hold what something else wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.cache import InvalidCacheBackendError, caches
from django.db import connection

from instance_lookup import CacheError
from instance_lookup.cache.entry import Generation
from instance_lookup.frozen import SecretText
from tests.support.caches import TABLE, use_cache
from tests.support.lookups import SECRET, HookedCache, hooks
from tests.support.stores import (
    ENTRY,
    EVERYTHING,
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
    from collections.abc import Callable, Iterator

    from tests.support.redis_server import RedisServer


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    yield from provide_store(monkeypatch)


@pytest.mark.parametrize("raised", [OSError("no route"), RuntimeError("?"), ValueError(SECRET)])
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda store: store.read("acme"), id="read"),
        pytest.param(lambda store: store.invalidate("acme"), id="invalidate"),
        pytest.param(lambda store: store.invalidate_all(), id="invalidate_all"),
        pytest.param(lambda store: store.expire("acme"), id="expire"),
        pytest.param(lambda store: store.write("acme", SecretText("{}")), id="write"),
        pytest.param(
            lambda store: store.write_missing(
                "acme", generation=Generation("e", "o"), asked_at=NOW
            ),
            id="write_missing",
        ),
    ],
)
def test_backend_fails(
    store: Store,
    use: Callable[[Store], object],
    raised: Exception,
) -> None:
    """Each error of a backend comes out as CacheError, counted, without the backend's message."""

    def fail(verb: str, key: str) -> None:
        raise raised

    with hooks(fail), pytest.raises(CacheError, match="'default' failed to ") as caught:
        use(store)
    assert SECRET not in str(caught.value)
    assert store._count.__self__.read().errors == 1  # type: ignore[attr-defined]


def test_backend_fails_to_mint(store: Store) -> None:
    """A cache that fails between two operations fails the read."""

    def fail(verb: str, key: str) -> None:
        if verb == "add":
            raise OSError("gone")

    with hooks(fail), pytest.raises(CacheError, match="failed to store 'acme'"):
        store.read("acme")


def test_alias_that_is_not_there() -> None:
    """A CACHE_ALIAS that is not in CACHES is an error in the settings, not an outage."""
    with pytest.raises(InvalidCacheBackendError):
        make_store(cache_alias="nowhere").read("acme")


@pytest.mark.parametrize("key", [EVERYTHING, OWN])
@pytest.mark.parametrize("value", [17, None, ["a"], b"\xff", "", "a.b", "\udc80"])
def test_foreign_generation(store: Store, key: str, value: object) -> None:
    """An unreadable generation counts as unknown: it is replaced, and the entry is absent."""
    fill(store)
    caches["default"].set(key, value, None)
    assert not is_served(store)
    assert Generation.parse(str(generation(store))) == generation(store)
    fill(store)
    assert is_served(store)


@pytest.mark.parametrize("verb", ["invalidate", "expire"])
def test_write_swallowed(store: Store, verb: str) -> None:
    """An invalidation that the backend silently did not store raises CacheError."""
    fill(store)

    def swallow(verb: str, key: str) -> object:
        return HookedCache.SKIP if verb == "set" else None

    with hooks(swallow), pytest.raises(CacheError, match="did not keep an invalidation of 'acme'"):
        getattr(store, verb)("acme")


def test_write_swallowed_once(store: Store) -> None:
    """A write that was lost once is repeated."""
    fill(store)
    lost: list[str] = []

    def swallow(verb: str, key: str) -> object:
        if (verb, key) == ("set", OWN) and not lost:
            lost.append(key)
            return HookedCache.SKIP
        return None

    with hooks(swallow):
        store.invalidate("acme")
    assert lost
    assert not is_served(store)


def test_database_swallows_writes(transactional_db: None) -> None:
    """DatabaseCache hides a failed write; `invalidate_all` notices it."""
    with use_cache("db") as alias:
        make_store(cache_alias=alias).read("acme")
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER full BEFORE UPDATE ON {TABLE} "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        with pytest.raises(CacheError, match="did not keep an invalidation of 'all instances'"):
            make_store(cache_alias=alias).invalidate_all()


@pytest.mark.extras
def test_django_redis_ignores_exceptions(own_redis_server: RedisServer) -> None:
    """With IGNORE_EXCEPTIONS of django-redis an outage raises CacheError all the same."""
    with use_cache(
        "django-redis", redis_url=own_redis_server.url(), IGNORE_EXCEPTIONS=True
    ) as alias:
        store = make_store(cache_alias=alias)
        fill(store)
        own_redis_server.kill()
        with pytest.raises(CacheError, match="failed to read 'acme'"):
            store.read("acme")
        with pytest.raises(CacheError, match="failed to store 'acme'"):
            store.write_missing("acme", generation=Generation("e", "o"), asked_at=NOW)
        with pytest.raises(CacheError, match="failed to invalidate 'acme'"):
            store.invalidate("acme")


def test_reads_and_writes_swallowed(store: Store) -> None:
    """A cache that hides its outage is noticed: a miss that no write fills is a failure."""
    with hooks(lambda verb, key: HookedCache.SKIP):
        with pytest.raises(CacheError, match="failed to read 'acme'"):
            store.read("acme")
        assert store.write_missing("acme", generation=Generation("e", "o"), asked_at=NOW) is None


@pytest.mark.parametrize("raised", [OverflowError, MemoryError, EOFError, ImportError])
def test_unpickling_fails_somehow(store: Store, raised: type[Exception]) -> None:
    """Whatever error the unpickling of garbage raises, the value is replaced."""
    fill(store)

    def fail(verb: str, key: str) -> None:
        if (verb, key) == ("get", ENTRY):
            raise raised

    with hooks(fail):
        assert not is_served(store)
    assert caches["default"].get(ENTRY) is None


@pytest.mark.parametrize("value", [17, ["a"], {"v": 1}, b"{}", "z:!", "", "null"])
def test_foreign_entry_value(store: Store, value: object) -> None:
    """A value that is no entry at all is as if absent."""
    fill(store)
    caches["default"].set(ENTRY, value, None)
    assert not is_served(store)
