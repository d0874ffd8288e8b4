"""The near cache: how much it holds, for how long, and never what was read before a change."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceConfig, InstanceResolver
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.epochs import Epochs
from instance_lookup.cache.near import NearTier
from instance_lookup.conf import build_settings
from tests.support.lookups import acme, asks
from tests.support.near import Hearer, entry

if TYPE_CHECKING:
    from collections.abc import Callable

WALL = 1_800_000_000.0

Near = NearTier[InstanceConfig]


class Clocks:
    """The wall clock and the monotonic one, which go on together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        self.put_back = 0.0
        monkeypatch.setattr("instance_lookup.cache.near.monotonic", lambda: 1000.0 + self.passed)
        monkeypatch.setattr(
            "instance_lookup.cache.near.time", lambda: WALL + self.passed - self.put_back
        )


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def make(size: int = 3, **options: Any) -> Near:
    channel = options.pop("channel", None)
    near: Near = NearTier(build_settings({"near_cache_size": size, **options}))
    near.__dict__["_channel"] = channel
    near.size = size
    return near


def put(near: Near, *ids: str, exists: bool = True, at: float = 0.0, ttl: float = 300.0) -> None:
    """Put an entry as it was fetched and read from the shared cache at a moment."""
    for asked in ids:
        near.put(asked, entry(asked, at=WALL + at, ttl=ttl, exists=exists), 1000.0 + at)


def kept(near: Near, *ids: str) -> set[str]:
    return {asked for asked in ids if near.get(asked) is not None}


@pytest.fixture
def near(clocks: Clocks) -> Near:
    return make()


def test_get_same_object(near: Near) -> None:
    """The near cache returns the very object that was put in, not a copy."""
    whole = entry(at=WALL)
    near.put("acme", whole, 1000.0)
    assert near.get("acme") is whole
    assert near.get("other") is None


def test_put_again_newer(near: Near) -> None:
    """A second put replaces the first."""
    put(near, "acme")
    newer = entry(at=WALL + 1)
    near.put("acme", newer, 1001.0)
    assert near.get("acme") is newer
    assert len(near) == 1


def test_size_least_recently_used(near: Near) -> None:
    """The entry that was not read for the longest time is dropped for a new one."""
    put(near, "a", "b", "c")
    near.get("a")
    put(near, "d")
    assert kept(near, "a", "b", "c", "d") == {"a", "c", "d"}
    assert len(near) == 3


def test_size_put_counts_as_used(near: Near) -> None:
    """Putting an entry again counts as using it."""
    put(near, "a", "b", "c", "a", "d")
    assert kept(near, "a", "b", "c", "d") == {"a", "c", "d"}


@pytest.mark.parametrize(("passed", "is_kept"), [(4.9, True), (5.0, False)])
def test_ttl(near: Near, clocks: Clocks, passed: float, is_kept: bool) -> None:
    """NEAR_CACHE_TTL counts from the read of the shared cache."""
    put(near, "acme")
    clocks.passed = passed
    assert (near.get("acme") is not None) is is_kept


@pytest.mark.parametrize("ttl", [0.5, 5.0])
def test_ttl_wall_clock_put_back(near: Near, clocks: Clocks, ttl: float) -> None:
    """The age of a near entry is measured on the monotonic clock, which cannot be set back."""
    near = make(near_cache_ttl=ttl)
    put(near, "acme")
    clocks.passed = clocks.put_back = ttl
    assert near.get("acme") is None


@pytest.mark.parametrize(("passed", "is_kept"), [(2.3, True), (2.5, False)])
def test_share_of_the_entrys_own_ttl(clocks: Clocks, passed: float, is_kept: bool) -> None:
    """After the share REFRESH_AHEAD of its ttl a near entry is read from the shared cache again."""
    near = make()
    put(near, "acme", ttl=3.0)
    clocks.passed = passed
    assert (near.get("acme") is not None) is is_kept


@pytest.mark.parametrize(("passed", "is_kept"), [(2.9, True), (3.0, False)])
def test_share_none(clocks: Clocks, passed: float, is_kept: bool) -> None:
    """Without refresh ahead an entry is kept near for all of its ttl, and no longer."""
    near = make(refresh_ahead=None)
    put(near, "acme", ttl=3.0)
    clocks.passed = passed
    assert (near.get("acme") is not None) is is_kept


def test_share_not_of_missing(near: Near, clocks: Clocks) -> None:
    """An unknown id is kept for its whole ttl, since it is not refreshed ahead."""
    put(near, "nobody", ttl=3.0, exists=False)
    clocks.passed = 2.9
    assert kept(near, "nobody") == {"nobody"}


@pytest.mark.parametrize(("put_back", "is_kept"), [(4.9, True), (5.1, False)])
def test_entry_from_the_future(near: Near, clocks: Clocks, put_back: float, is_kept: bool) -> None:
    """A near entry more than 5 s in the future is not used: some clock is wrong."""
    put(near, "acme")
    clocks.put_back = put_back
    assert (near.get("acme") is not None) is is_kept


def test_wall_clock_put_forward(near: Near, clocks: Clocks) -> None:
    """An entry that is stale by the wall clock is not served, however young it is here."""
    put(near, "acme")
    clocks.put_back = -240.0
    assert near.get("acme") is None


@pytest.mark.parametrize("exists", [True, False])
def test_missing_replaces_and_is_replaced(near: Near, exists: bool) -> None:
    """An id exists or does not: the newer entry replaces the other kind."""
    put(near, "acme", exists=not exists)
    put(near, "acme", exists=exists)
    found = near.get("acme")
    assert found is not None
    assert (found.document is not None) is exists
    assert len(near) == 1


def test_random_ids_push_out_no_others(clocks: Clocks) -> None:
    """Ten thousand unknown ids push out no existing one, and are bounded themselves."""
    near = make(16)
    hot = [f"hot-{n}" for n in range(16)]
    put(near, *hot)
    put(near, *(f"random-{n}" for n in range(10_000)), exists=False)
    assert kept(near, *hot) == set(hot)
    assert len(near) == 32
    assert near.get("random-9999") is not None
    assert near.get("random-9983") is None


def test_many_ids_keep_what_does_not_exist(near: Near) -> None:
    """Entries that exist do not push out what is known not to exist."""
    put(near, "nobody", exists=False)
    put(near, *(f"id-{n}" for n in range(100)))
    assert kept(near, "nobody") == {"nobody"}


def fill_up(near: Near, *ids: str, size: int, exists: bool = True) -> None:
    """Put entries of so many bytes of JSON."""
    for asked in ids:
        near.put(asked, entry(asked, at=WALL, size=size, exists=exists), 1000.0)


def test_bytes_least_recently_used(clocks: Clocks) -> None:
    """All entries together take NEAR_CACHE_BYTES of JSON at most, however few they are."""
    near = make(100, near_cache_bytes=1000)
    fill_up(near, "a", "b", "c", "d", size=250)
    near.get("a")
    fill_up(near, "e", size=500)
    assert kept(near, "a", "b", "c", "d", "e") == {"a", "d", "e"}


def test_bytes_of_one_that_is_larger(clocks: Clocks) -> None:
    """An entry over NEAR_CACHE_BYTES is not kept, replaces its predecessor, and drops no other."""
    near = make(100, near_cache_bytes=1000)
    fill_up(near, "a", "b", size=500)
    fill_up(near, "b", size=1001)
    assert kept(near, "a", "b") == {"a"}
    fill_up(near, "c", size=1000)
    assert kept(near, "a", "c") == {"c"}


def test_bytes_of_what_does_not_exist(clocks: Clocks) -> None:
    """Unknown ids make room for entries that exist, and never push one out."""
    near = make(100, near_cache_bytes=1000)
    fill_up(near, "x", "y", "z", size=300, exists=False)
    fill_up(near, "a", "b", size=300)
    assert kept(near, "a", "b", "x", "y", "z") == {"a", "b", "z"}
    fill_up(near, "c", size=400)
    assert kept(near, "a", "b", "c", "z") == {"a", "b", "c"}
    fill_up(near, "x", size=1, exists=False)
    assert kept(near, "a", "b", "c", "x") == {"a", "b", "c"}


CHANGES: dict[str, Callable[[Near], object]] = {
    "drop": lambda near: near.drop("a"),
    "drop all": lambda near: near.drop(None),
    "doubt": lambda near: near.doubt(),
    "shorter": lambda near: fill_up(near, "a", size=10),
    "gone": lambda near: fill_up(near, "a", size=10, exists=False),
    "too large": lambda near: fill_up(near, "a", size=2000),
    "pushed out": lambda near: fill_up(near, "u", "v", "w", size=10),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("exists", [True, False])
def test_bytes_are_given_back(change: str, exists: bool, clocks: Clocks) -> None:
    """The bytes of an entry are free again when it is replaced, dropped or pushed out."""
    near = make(3, near_cache_bytes=1000)
    fill_up(near, "a", size=900, exists=exists)
    CHANGES[change](near)
    left = [each.size for each in (*near._known.values(), *near._unknown.values())]
    assert near._bytes == sum(left)


@pytest.mark.parametrize("cache_kind", ["locmem"])
def test_bytes_of_real_entries(cache_alias: str) -> None:
    """The stored JSON counts: a few large configurations are not all kept together."""
    documents = {name: acme("x" * 10_000, instance_id=name) for name in ("a", "b", "c")}
    resolver = InstanceResolver(
        cache_alias=cache_alias,
        config_service_backend=DictConfigService(documents),
        near_cache_size=10,
        near_cache_bytes=25_000,
    )
    for name in documents:
        for _ in range(2):
            resolver.resolve(asks(instance_id=name))
    near = resolver.cache.tiers.near
    assert kept(near, *documents) == {"b", "c"}
    assert 20_000 < near._bytes < 25_000


@pytest.mark.parametrize("exists", [True, False])
def test_drop(near: Near, exists: bool) -> None:
    """``drop`` removes one id, or all, existing or not."""
    put(near, "a", "b", exists=exists)
    near.drop("a")
    near.drop("never there")
    assert kept(near, "a", "b") == {"b"}
    near.drop(None)
    assert len(near) == 0


@pytest.mark.parametrize(
    ("sure_until", "passed", "is_kept"),
    [
        (0, 0.9, True),
        (0, 1.0, False),
        (4, 3.9, True),
        (4, 4.0, False),
        (9, 4.9, True),
        (9, 5, False),
    ],
)
def test_in_doubt_for_a_second_only(
    clocks: Clocks, sure_until: float, passed: float, is_kept: bool
) -> None:
    """An entry is used for one second when the channel is down, else as long as it is up."""
    channel: Any = SimpleNamespace(sure_until=1000.0 + sure_until)
    near = make(channel=channel)
    put(near, "acme")
    clocks.passed = passed
    assert (near.get("acme") is not None) is is_kept


@pytest.mark.parametrize(("passed", "is_kept"), [(0.2, True), (0.3, False)])
def test_ttl_less_than_doubtful(clocks: Clocks, passed: float, is_kept: bool) -> None:
    """A NEAR_CACHE_TTL below one second holds, whether the channel is up or down."""
    channel: Any = SimpleNamespace(sure_until=2000.0)
    near = make(channel=channel, near_cache_ttl=0.25)
    put(near, "acme")
    clocks.passed = passed
    assert (near.get("acme") is not None) is is_kept


def test_dropped_while_it_is_got(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is dropped during ``get`` is not returned."""
    put(near, "acme")

    def time() -> float:
        near.drop("acme")
        return WALL

    monkeypatch.setattr("instance_lookup.cache.near.time", time)
    assert near.get("acme") is None


def fill(near: Near, epochs: Epochs, asked: str, *, since: int) -> None:
    """Put an entry that was read, unless something has changed since."""
    epochs.keep(asked, since, partial(near.put, asked, entry(asked, at=WALL), 1000.0))


def test_lull_after_a_doubt(near: Near, clocks: Clocks) -> None:
    """A read that begins in the lull after a doubt is not kept; the next one is."""
    put(near, "acme")
    near.doubt(0.5)
    put(near, "acme", at=0.4)
    clocks.passed = 0.7
    assert kept(near, "acme") == set()
    put(near, "acme", at=0.6)
    assert kept(near, "acme") == {"acme"}


@pytest.mark.parametrize("changed", ["acme", None])
def test_fill_read_before_a_change(near: Near, changed: str | None) -> None:
    """An entry read before a change is not put into the near cache after it."""
    epochs = Epochs(60, near)
    since = epochs.of("acme")
    epochs.change(changed)
    fill(near, epochs, "acme", since=since)
    assert near.get("acme") is None
    fill(near, epochs, "acme", since=epochs.of("acme"))
    assert near.get("acme") is not None


def test_fill_another_id_changed(near: Near) -> None:
    """A change of one id does not keep another id out of the near cache."""
    epochs = Epochs(60, near)
    put(near, "beta")
    since = epochs.of("acme")
    epochs.change("other")
    fill(near, epochs, "acme", since=since)
    assert kept(near, "acme", "beta") == {"acme", "beta"}


def test_doubt_about_what_was_read_before(near: Near, clocks: Clocks) -> None:
    """A doubt drops all entries, and those whose read began before it are not kept."""
    put(near, "acme")
    clocks.passed = 1.0
    near.doubt()
    put(near, "beta", at=1.0)
    assert kept(near, "acme", "beta") == set()
    put(near, "beta", at=1.1)
    assert kept(near, "beta") == {"beta"}


def test_open_without_a_cache() -> None:
    """Without its cache alias the near cache stays closed and raises nothing; the read does."""
    near: Near = NearTier(build_settings({"cache_alias": "nowhere"}))
    near.open(Hearer())
    assert (near.is_open, near.size) == (False, 0)
