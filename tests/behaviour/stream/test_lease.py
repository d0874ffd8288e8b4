"""Which process listens, and where it got to, on each kind of cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.push import stream_lease
from instance_lookup.push.stream_lease import Bookmark, Lease
from tests.support.lookups import VARIANT_PARAMS, provide_variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from instance_lookup.cache.keyvalue import KeyValue

STREAM = "https://config.example.com/stream"


@pytest.fixture(params=VARIANT_PARAMS)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    for alias in provide_variant(request, tmp_path):
        yield key_values[alias]


@pytest.fixture
def local() -> KeyValue:
    return key_values["default"]


def test_one_holds(cache: KeyValue) -> None:
    """Of two processes one holds it, for as long as it renews; then the other one may."""
    one, other = Lease(cache, STREAM), Lease(cache, STREAM)
    assert one.hold()
    assert not other.hold()
    assert one.hold()
    assert (one.is_held, other.is_held) == (True, False)
    other.release()  # not its own
    assert not other.hold()
    one.release()
    assert not one.is_held
    assert other.hold()
    assert not one.hold()


def test_another_stream(cache: KeyValue) -> None:
    """Each stream has a lease and a bookmark of its own: ids of another one mean nothing."""
    elsewhere = f"{STREAM}/elsewhere"
    assert Lease(cache, STREAM).hold()
    assert Lease(cache, elsewhere).hold()
    Bookmark(cache, STREAM).write("7")
    assert Bookmark(cache, elsewhere).read() is None


def test_bookmark(cache: KeyValue) -> None:
    """The next process goes on where this one stopped; an empty id is none."""
    bookmark = Bookmark(cache, STREAM)
    assert bookmark.read() is None
    for event_id in ("1", "0" * 200, '"~!{', "7"):
        bookmark.write(event_id)
        assert Bookmark(cache, STREAM).read() == event_id
    bookmark.write("")
    assert Bookmark(cache, STREAM).read() is None
    assert bookmark.read() is None


@pytest.mark.parametrize(
    "junk", ["4\\r\\nX-User-ID: root", " 4", "\\u6f22", "\\ud800", "4" * 201, "a b"]
)
def test_bookmark_that_is_no_id(cache: KeyValue, junk: str) -> None:
    """What others wrote there goes into no header, and a process that knows better goes on."""
    bookmark = Bookmark(cache, STREAM)
    bookmark.write("7")
    cache.set(bookmark._key, f'{{"id": "{junk}"}}', 60)
    assert Bookmark(cache, STREAM).read() is None
    assert bookmark.read() == "7"


def test_life(local: KeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process knows by its own clock when it may have lost the lease."""
    now = [1000.0]
    monkeypatch.setattr(stream_lease, "monotonic", lambda: now[0])
    lease = Lease(local, STREAM)
    assert lease.hold()
    now[0] += stream_lease.LIFE - 0.1
    held = [lease.is_held]
    now[0] += 0.2
    held.append(lease.is_held)
    assert lease.hold()  # no other has taken it
    assert [*held, lease.is_held] == [True, False, True]


def test_life_counts_from_before_the_call(local: KeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may have begun to count when the answer was long under way."""
    now = [1000.0]
    monkeypatch.setattr(stream_lease, "monotonic", lambda: now[0])
    lease = Lease(local, STREAM)

    def slow(key: str, value: str, life: int | None) -> bool:
        now[0] += stream_lease.LIFE + 1
        return True

    monkeypatch.setattr(local, "add", slow)
    assert lease.hold()
    assert not lease.is_held


def test_cache_that_fails(local: KeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the lease from no process before its time, and gives it to none."""
    lease, other = Lease(local, STREAM), Lease(local, STREAM)
    assert lease.hold()

    def fail(*_args: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(local, "get", fail)
    assert lease.hold()
    assert not other.hold()
    lease.release()
    assert not lease.is_held


def test_not_known_who_has_it(local: KeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a connection broke as it was taken, the next look finds out whose it is."""
    lease = Lease(local, STREAM)
    add = local.add

    def unsure(key: str, value: str, life: int | None) -> None:
        add(key, value, life)

    with monkeypatch.context() as patch:
        patch.setattr(local, "add", unsure)
        assert not lease.hold()
    assert lease.hold()


def test_renewed(local: KeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal gives the lease another whole life in the cache."""
    lease, touched = Lease(local, STREAM), list[tuple[str, int]]()
    assert lease.hold()
    monkeypatch.setattr(local, "touch", lambda key, life: touched.append((key, life)))
    assert lease.hold()
    assert touched == [(lease._key, 10)]
