"""Rotation of ``ENCRYPTION_KEYS``: a key that goes takes nothing along that is still needed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import InstanceNotFound, InstanceResolver, Source
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.cache.encryption import Encryption
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.newest import new_part
from instance_lookup.cache.peeks import blocked_among, peek_many
from tests.support.lookups import (
    DOWN,
    Clock,
    HookedCache,
    Service,
    Twin,
    acme,
    asks,
    hooked_caches,
    hooks,
    project,
    provide_variant,
)
from tests.support.sealing import (
    ENTRY,
    EVERYTHING,
    EXPIRY,
    HOUR,
    KEY,
    OTHER_KEY,
    OWN,
    PARAMS,
    Site,
    Writer,
    answer,
    is_blocked,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras
OLD, NEW = [OTHER_KEY], [KEY]
ADDED, FIRST = [OTHER_KEY, KEY], [KEY, OTHER_KEY]
"""The steps between: the new key added, then put first."""
MINUTE = 60.0


@pytest.fixture(params=PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from provide_variant(request, tmp_path)


def carried(site: Site, *, call: Twin | None = None, keys: Any = (OLD, FIRST)) -> None:
    """Have a site store what has a generation of the first of ``keys``, and then go on to others.

    With each of those all is fetched again, as in the time that the docs say to wait.
    """
    call = call or Twin(is_async=False)
    first = site.process(encryption_keys=keys[0])
    call(first, "resolve", asks())
    call(first.cache, "expire", "acme")  # so that there are three parts
    call(first, "resolve", project())
    for each in keys[1:]:
        site.clock.now += 301
        call(site.process(encryption_keys=each), "resolve", project())
    site.clock.now += 1


def proof_of(writer: Writer, key: str) -> str:
    """Return the key of the proof, by the new key, of what is at ``key``."""
    (name,) = Encryption(NEW).names
    return f"instance_proof:{name}:{writer.copy(key)[key].rpartition('t')[0]}"


# --- every kind of cache


@pytest.mark.parametrize(
    "alias",
    ["locmem", "filebased", "db", "redis", "django-redis-json", "pymemcache", "pylibmc"],
    indirect=True,
)
def test_old_key_is_removed(site: Site, call: Twin) -> None:
    """Configs, mappings, "does not exist", expiries and blocks are there without the old key."""
    site.service.instances["blocked"] = acme("blocked", instance_id="blocked")
    call(site.process(encryption_keys=OLD), "block_instance", "blocked", HOUR)
    carried(site, call=call, keys=(OLD, ADDED, FIRST))
    between = site.process(encryption_keys=FIRST)
    with pytest.raises(InstanceNotFound):
        call(between, "resolve", asks(instance_id="gone"))
    assert is_blocked(between, "blocked")
    site.service.failure = DOWN
    site.service.calls.clear()
    for after in (site.process(encryption_keys=NEW), site.process(encryption_keys=NEW)):
        for _ in range(2):
            for context in (asks(), project()):
                result = call(after, "resolve", context)
                assert (result.config.r2_bucket, result.source) == ("first", Source.CACHE)
            with pytest.raises(InstanceNotFound):
                call(after, "resolve", asks(instance_id="gone"))
            assert is_blocked(after, "blocked")
    assert site.service.calls == []
    assert site.rejections == []
    site.clock.now += HOUR - 20  # it was blocked before the others were fetched again
    late = site.process(encryption_keys=NEW)
    assert call(late, "resolve", asks()).source is Source.STALE_CACHE
    site.service.failure = None
    assert call(late, "resolve", asks(instance_id="blocked")).config.r2_bucket == "blocked"


# --- what is not carried over, and what a writer can do with a proof


@pytest.mark.parametrize("verb", ["invalidate", "invalidate_all", "gone"])
@pytest.mark.parametrize("keys", [ADDED, FIRST, NEW])
def test_invalidated_during_a_rotation(
    site: Site, writer: Writer, verb: str, keys: list[str]
) -> None:
    """What a process with any of the keys invalidated stays so, for each of the others."""
    carried(site)
    acts, after = site.process(encryption_keys=keys), site.process(encryption_keys=NEW)
    assert version(after) == "first"
    before = writer.copy()
    site.changes("second")
    if verb == "gone":
        kept = site.service.instances.pop("acme")
        with pytest.raises(InstanceNotFound):
            acts.refresh("acme")
        site.service.instances["acme"] = kept
        site.clock.now += 31  # "does not exist" is remembered for 30 s
    else:
        getattr(acts.cache, verb)(*(["acme"] if verb == "invalidate" else []))
    assert version(site.process(encryption_keys=FIRST)) == "second"
    assert version(after) == "second"
    writer.restore(before)  # its proofs are there
    assert version(after) == "second"
    assert site.rejections[-1] == "replayed"


@pytest.mark.parametrize("keys", [ADDED, FIRST, NEW])
def test_expired_during_a_rotation(site: Site, keys: list[str]) -> None:
    """What was expired is asked about again, and carries the site through an outage."""
    carried(site)
    site.process(encryption_keys=keys).cache.expire("acme")
    site.service.failure = DOWN
    assert answer(site.process(encryption_keys=FIRST)) == ("first", Source.STALE_CACHE)
    if keys is not ADDED:  # then the mark is of the old key, and no entry was stored under it
        assert answer(site.process(encryption_keys=NEW)) == ("first", Source.STALE_CACHE)


def test_invalidated_while_it_is_proved() -> None:
    """An invalidation between the look and the proof, or after it, is overwritten by none."""
    with override_settings(CACHES=hooked_caches()):
        service, writes = Service(), []
        old, between, after, acts = (
            InstanceResolver(config_service_backend=service, encryption_keys=keys)
            for keys in (OLD, FIRST, NEW, ADDED)
        )
        version(old)

        def hook(verb: str, key: str) -> None:
            if verb == "set" and "instance_proof:" in key:
                writes.append(key)
                service.instances["acme"] = acme(f"version {len(writes)}")
                acts.cache.invalidate("acme")
                acts.cache.invalidate_all()

        with hooks(hook):
            between.refresh("acme")
        assert len(writes) == 2  # of all, and of acme
        assert version(after) == version(between) == "version 2"


@pytest.mark.parametrize("deleted", [EVERYTHING, OWN, EXPIRY])
def test_proof_is_gone(site: Site, writer: Writer, deleted: str) -> None:
    """Without its proof a part is unknown, as ever: counted, replaced, and asked about."""
    carried(site)
    writer.delete(proof_of(writer, deleted))
    site.changes("second")
    after = site.process(encryption_keys=NEW)
    assert answer(after) == ("second", Source.SERVICE)
    assert site.rejections == ["generation"]
    assert answer(after) == ("second", Source.CACHE)


@pytest.mark.parametrize("junk", ["no token!", "g" + "0" * 32, "", '{"v": 1}', "é" * 33])
def test_junk_for_a_proof(site: Site, writer: Writer, junk: str) -> None:
    """What someone without a key writes at the place of a proof proves nothing, and breaks none."""
    carried(site)
    writer.put({proof_of(writer, OWN): junk})
    site.changes("second")
    after = site.process(encryption_keys=NEW)
    assert answer(after) == ("second", Source.SERVICE)
    assert site.rejections == ["generation"]
    assert after.get_cache_stats().errors == 0


def test_proof_at_another_place(site: Site, writer: Writer) -> None:
    """A proof counts for its own part at its own key: for no other id, no other value."""
    site.service.instances["other"] = acme("other's", instance_id="other")
    carried(site)
    mine = writer.copy(OWN, EXPIRY)
    writer.put({
        "instance_generation:other": mine[OWN],
        "instance_expiry:other": mine[EXPIRY],
        EXPIRY: mine[OWN],  # and from one part to the other
    })  # fmt: skip
    after = site.process(encryption_keys=NEW)
    assert after.resolve(asks(instance_id="other")).source is Source.SERVICE
    assert answer(after) == ("first", Source.SERVICE)
    assert site.rejections == ["generation", "generation"]
    made_up = f"g{int(site.clock.now * 1000):012x}{'0' * 16}"
    name = Encryption(NEW).names[0]
    proof = {f"instance_proof:{name}:{made_up}": writer.copy(proof_of(writer, EVERYTHING))}
    writer.put({key: next(iter(value.values())) for key, value in proof.items()})
    writer.put({OWN: f"{made_up}t{'0' * 32}"})
    assert answer(site.process(encryption_keys=NEW)) == ("first", Source.SERVICE)


def test_made_up_where_another_was_believed(site: Site, writer: Writer) -> None:
    """A process that believes a part by its proof believes no other one at that key."""
    carried(site)
    after = site.process(encryption_keys=NEW)
    assert answer(after) == ("first", Source.CACHE)
    made_up = f"g{int(site.clock.now * 1000):012x}{'0' * 16}"
    writer.put({OWN: f"{made_up}t{'0' * 32}"})
    assert answer(after) == ("first", Source.SERVICE)
    assert site.rejections == ["generation"]


def test_proof_without_the_key(site: Site, writer: Writer) -> None:
    """A key that goes, and one that was never there, prove nothing to those without them."""
    carried(site)
    assert answer(site.process(encryption_keys=[new_encryption_key()]))[1] is Source.SERVICE
    assert site.rejections == ["generation"]


def test_new_key_is_removed_again(site: Site) -> None:
    """Back from the new key to the old one: what the old one made was there all the time."""
    carried(site, keys=(OLD, FIRST, ADDED))
    assert answer(site.process(encryption_keys=OLD)) == ("first", Source.CACHE)
    assert site.rejections == []


def test_several_rotations(site: Site) -> None:
    """One rotation after the other, with and without removing what is old in between."""
    a, b, c = (new_encryption_key() for _ in range(3))
    carried(site, keys=([a], [b, a], [b], [c, b], [c]))
    assert answer(site.process(encryption_keys=[c])) == ("first", Source.CACHE)
    carried(site, keys=([c], [a, c], [b, a, c], [a, b, c], [b, c, a]))
    assert answer(site.process(encryption_keys=[b])) == ("first", Source.CACHE)
    assert site.rejections == []


LAST = 2**48 - 1
"""The last moment that a part can name, in Unix milliseconds."""


@pytest.mark.parametrize(
    ("key", "at", "floor"),
    [(EVERYTHING, LAST, 0), (OWN, LAST, 0), (EXPIRY, LAST, 0), (EXPIRY, 0, LAST)],
)
def test_last_part_of_the_old_key(
    site: Site, writer: Writer, key: str, at: int, floor: int
) -> None:
    """Who knew the old key cannot make a part that leaves no room for those that come after it."""
    version(site.process(encryption_keys=OLD))
    at = at or int(site.clock.now * 1000) + 1
    value = new_part(at, until=0.0, freed=0.0, floor=floor, was="").value
    tag = Encryption(OLD).tag(key_values[site.alias].place(key) + f"\n{value}".encode())
    writer.put({key: f"{value}t{tag}"})
    version(site.process(encryption_keys=FIRST))
    after = site.process(encryption_keys=NEW)
    for number in range(2):
        for invalidate in (after.cache.invalidate_all, lambda: after.cache.invalidate("acme")):
            site.changes(f"version {number}")
            invalidate()
            assert version(after) == f"version {number}"
            assert answer(site.process(encryption_keys=NEW))[1] is Source.CACHE


# --- blocks


def looks_after(site: Site) -> InstanceResolver:
    """Have a block set by the old key, and carried over; return a process without that key."""
    site.process(encryption_keys=OLD).block_instance("acme", HOUR)
    assert is_blocked(site.process(encryption_keys=FIRST))
    site.clock.now += 1
    return site.process(encryption_keys=NEW)


@pytest.mark.parametrize("act", ["invalidate", "expire", "unblock"])
def test_block_is_kept_or_lifted(site: Site, act: str, call: Twin) -> None:
    """A process that has not looked yet leaves a block, or lifts it, as without a rotation."""
    after = looks_after(site)
    call(after.cache, act, "acme")
    for keys in (NEW, FIRST):
        assert is_blocked(site.process(encryption_keys=keys)) is (act != "unblock")
    assert site.rejections == []


def test_block_is_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Pages and commands show a block that was carried over."""
    shared = looks_after(site).cache.tiers.shared
    assert blocked_among(shared, ["acme", "other"]) == {"acme"}
    shared = site.process(encryption_keys=NEW).cache.tiers.shared
    assert peek_many(shared, ["acme", "other"])["acme"].blocked_until == site.clock.now - 1 + HOUR
    shared = site.process(encryption_keys=NEW).cache.tiers.shared
    assert shared.peek("acme").blocked_until
    assert "does not count" not in caplog.text


def test_block_that_none_asked_for(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A block that was not carried over is lost, and the log says so, once."""
    site.process(encryption_keys=OLD).block_instance("acme", HOUR)
    caplog.clear()
    for _ in range(2):
        assert not is_blocked(site.process(encryption_keys=NEW))
    (record,) = [each for each in caplog.records if "does not count" in each.message]
    assert record.levelno == logging.WARNING
    assert "instance 'acme'" in record.message
    after = site.process(encryption_keys=NEW)
    after.block_instance("acme", HOUR)
    assert is_blocked(after)


@pytest.mark.parametrize("verb", ["invalidate", "expire"])
def test_block_that_is_not_believed_is_replaced(
    site: Site, caplog: pytest.LogCaptureFixture, verb: str, call: Twin
) -> None:
    """What replaces the generation of a block that was not carried over says that it is lost."""
    site.process(encryption_keys=OLD).block_instance("acme", HOUR)
    caplog.clear()
    after = site.process(encryption_keys=NEW)
    call(after.cache, verb, "acme")
    assert "A block of instance 'acme' until 2027-01-15 09:00:00 UTC does not count" in caplog.text
    caplog.clear()
    after.block_instance("acme", HOUR)
    call(after.cache, verb, "acme")
    after.unblock_instance("acme")
    call(after.cache, verb, "acme")
    assert "does not count" not in caplog.text


# --- what it costs


class Watched:
    """What a cache is asked, but for reads of an entry with its parts."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, verb: str, key: str) -> None:
        if "instance_proof:" in key:
            self.calls.append(verb)


def resolvers(*keys: list[str]) -> list[InstanceResolver]:
    service = Service()
    return [
        InstanceResolver(config_service_backend=service, encryption_keys=each, near_cache_size=0)
        for each in keys
    ]


def test_reads_of_proofs() -> None:
    """A process looks for a proof once for a part, and never where its own keys made the part."""
    with override_settings(CACHES=hooked_caches()), hooks(watched := Watched()):
        old, between, after = resolvers(OLD, FIRST, NEW)
        old.resolve(asks())
        old.cache.expire("acme")
        between.resolve(asks())
        assert watched.calls == ["set"] * 3
        watched.calls.clear()
        for _ in range(3):
            for each in (old, between, after):
                if each is not old:
                    assert answer(each) == ("first", Source.CACHE)
        assert watched.calls == ["get"] * 3
        after.cache.expire("acme")
        after.resolve(asks())
        assert watched.calls == ["get"] * 3 + ["set"] * 2  # the expiry is of the new key


def test_proof_of_a_block_is_written_once() -> None:
    """Each process writes it once, however often users are refused."""
    with override_settings(CACHES=hooked_caches()), hooks(watched := Watched()):
        old, between, after = resolvers(OLD, FIRST, NEW)
        old.block_instance("acme", HOUR)
        for _ in range(3):
            for each in (between, after):
                assert is_blocked(each)
        # The process that believes it by its proof writes that again.
        assert watched.calls.count("set") == 4
        assert watched.calls.count("get") == 2


def test_how_long_a_proof_is_kept(clock: Clock) -> None:
    """As long as what was stored now may be served; that of a block as long as the block lasts."""
    with override_settings(CACHES=hooked_caches()):
        old, between, after = resolvers(OLD, FIRST, NEW)
        old.resolve(asks())
        for each in (between, after):
            HookedCache.lives.clear()
            clock.now += 301
            each.resolve(asks())
            lives = [life for key, life in HookedCache.lives.items() if "proof" in key]
            assert lives == [HOUR + MINUTE] * 2
        old.block_instance("acme", 24 * HOUR)
        HookedCache.lives.clear()
        clock.now += HOUR
        assert is_blocked(between)
        lives = [life for key, life in HookedCache.lives.items() if "proof" in key]
        assert lives == [23 * HOUR + MINUTE] * 2


def test_proofs_that_cannot_be_written_or_read() -> None:
    """A block holds while the cache takes no writes; an unread proof is a cache that is down."""
    with override_settings(CACHES=hooked_caches()):
        old, between, after = resolvers(OLD, FIRST, NEW)
        old.block_instance("acme", HOUR)

        def fails(verb: str, key: str) -> None:
            if "instance_proof:" in key:
                raise ConnectionError(verb)

        with hooks(fails):
            assert is_blocked(between)
            assert not is_blocked(after)
            assert after.get_cache_stats().errors == 1


def test_entry_of_the_old_key(site: Site, writer: Writer) -> None:
    """What only the old key has sealed is absent once that is removed: it cannot be opened."""
    version(site.process(encryption_keys=OLD))
    assert answer(site.process(encryption_keys=FIRST)) == ("first", Source.CACHE)
    assert ENTRY in writer.copy()
    assert answer(site.process(encryption_keys=NEW)) == ("first", Source.SERVICE)
