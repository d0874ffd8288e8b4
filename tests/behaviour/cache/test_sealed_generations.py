"""Generations with keys: what someone without a key puts back does not count where it is known."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import InstanceNotFound, InstanceResolver, Source
from instance_lookup.cache.newest import Newest, Part, new_part
from instance_lookup.cache.sealed_tokens import SealedTokens
from instance_lookup.exceptions import InstanceBlocked
from tests.support.lookups import (
    DOWN,
    HookedCache,
    Service,
    Twin,
    asks,
    hooked_caches,
    hooks,
    provide_variant,
)
from tests.support.sealing import (
    ENTRY,
    EVERYTHING,
    EXPIRY,
    HOUR,
    KEY,
    KEYS,
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


@pytest.fixture(params=PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from provide_variant(request, tmp_path)


def changed(site: Site, resolver: InstanceResolver, verb: str, call: Twin) -> None:
    """Have the service give out "second", and ``resolver`` learn that "first" is over."""
    site.changes("second")
    if verb == "gone":
        kept = site.service.instances.pop("acme")
        with pytest.raises(InstanceNotFound):
            call(resolver, "refresh", "acme")
        site.service.instances["acme"] = kept
        site.clock.now += 31  # "does not exist" is remembered for 30 s
    elif verb == "invalidate_all":
        call(resolver.cache, "invalidate_all")
    else:
        call(resolver.cache, verb, "acme")


VERBS = ["invalidate", "expire", "invalidate_all", "gone"]


@pytest.mark.parametrize("verb", VERBS)
def test_all_put_back_where_it_was_changed(
    site: Site, writer: Writer, verb: str, call: Twin
) -> None:
    """The process that invalidated is not shown its entry again, generations and all."""
    resolver = site.process()
    resolver.cache.expire("acme")
    version(resolver)
    before = writer.copy()
    changed(site, resolver, verb, call)
    writer.restore(before)
    assert call(resolver, "resolve", asks()).config.r2_bucket == "second"
    assert site.rejections == ["replayed"]
    assert answer(resolver) == ("second", Source.CACHE)


@pytest.mark.parametrize("parts", [KEYS, (ENTRY, OWN), (ENTRY, EVERYTHING), (ENTRY, EXPIRY)])
@pytest.mark.parametrize("verb", ["invalidate", "invalidate_all", "expire"])
def test_put_back_where_it_was_heard(
    site: Site, writer: Writer, verb: str, parts: tuple[str, ...], call: Twin
) -> None:
    """A process that heard of it, and has not looked since, is not shown the old entry either."""
    resolver, other = site.process(), site.process()
    resolver.cache.expire("acme")
    version(other)
    before = writer.copy()
    site.clock.now += 60
    changed(site, resolver, verb, call)
    other.cache.tiers.hear(*((None, None) if verb == "invalidate_all" else ("instance", "acme")))
    writer.put({key: before[key] for key in parts})
    assert version(other) == "second"
    assert "replayed" in site.rejections or "outdated" in site.rejections or verb == "expire"


@pytest.mark.parametrize("verb", VERBS)
def test_put_back_where_the_newer_was_seen(
    site: Site, writer: Writer, verb: str, call: Twin
) -> None:
    """A process that has looked since is not shown the old entry again."""
    resolver, other = site.process(), site.process()
    resolver.cache.expire("acme")
    version(other)
    before = writer.copy()
    changed(site, resolver, verb, call)
    assert version(other) == "second"
    writer.restore(before)
    site.changes("third")
    assert answer(other) == ("third", Source.SERVICE)
    assert site.rejections[-1] == "replayed"


def test_put_back_where_neither_is_known(site: Site, writer: Writer) -> None:
    """The limit: a process that just started takes all that is put back, while it is young."""
    resolver = site.process()
    version(resolver)
    before = writer.copy()
    changed(site, resolver, "invalidate", Twin(is_async=False))
    assert version(resolver) == "second"
    writer.restore(before)
    assert answer(site.process()) == ("first", Source.CACHE)
    site.service.failure = DOWN
    site.clock.now += HOUR - 2
    assert answer(site.process()) == ("first", Source.STALE_CACHE)
    site.clock.now += 2  # its age counts from its fetch, which is sealed with it
    with pytest.raises(type(DOWN)):
        version(site.process())


def test_what_was_put_back_is_replaced_for_all(site: Site, writer: Writer) -> None:
    """The first process that knows better ends it for those that do not."""
    resolver = site.process()
    version(resolver)
    before = writer.copy()
    changed(site, resolver, "invalidate", Twin(is_async=False))
    writer.restore(before)
    assert version(resolver) == "second"
    assert version(site.process()) == "second"


def test_young_process_learns_by_a_look(site: Site, writer: Writer) -> None:
    """One look at what is new is enough to know better."""
    resolver, other = site.process(), site.process()
    version(resolver)
    before = writer.copy()
    changed(site, resolver, "invalidate", Twin(is_async=False))
    other.cache.has("acme")
    writer.restore(before)
    assert version(other) == "second"


def test_same_look_after_it_was_heard(site: Site, writer: Writer) -> None:
    """What was just looked at counts no more once a change of it was heard."""
    resolver, other = site.process(), site.process()
    for _ in range(2):
        version(other)
    before = writer.copy()
    site.clock.now += 60
    changed(site, resolver, "invalidate", Twin(is_async=False))
    writer.restore(before)
    other.cache.tiers.hear("project", "acme")
    assert answer(other) == ("first", Source.CACHE)
    other.cache.tiers.hear("instance", "acme")
    assert answer(other) == ("second", Source.SERVICE)


def test_expiry_that_was_heard_keeps_the_copy(site: Site, call: Twin) -> None:
    """What was only expired, by another process, still carries the site through an outage."""
    resolver, other = site.process(), site.process()
    version(other)
    site.clock.now += 60
    call(resolver.cache, "expire", "acme")
    other.cache.tiers.hear("instance", "acme")
    site.service.failure = DOWN
    for _ in range(2):
        assert answer(other) == ("first", Source.STALE_CACHE)
    assert site.rejections == []


@pytest.mark.parametrize("asked", ["acme", None])
def test_forged_message_costs_a_fetch(site: Site, asked: str | None) -> None:
    """Who can publish can have the service asked once more, by one process, and no more."""
    processes = [site.process() for _ in range(3)]
    for each in processes:
        version(each)
    site.changes("second")
    site.clock.now += 60
    for each in processes:
        each.cache.tiers.hear(asked and "instance", asked)
    sources = [each.resolve(asks()).source for each in processes]
    assert sources == [Source.SERVICE, Source.CACHE, Source.CACHE]


def test_deleted_expiry(site: Site, writer: Writer) -> None:
    """To delete the mark of an expiry makes no entry fresh again where the expiry was seen."""
    resolver = site.process()
    version(resolver)
    site.service.failure = DOWN
    resolver.cache.expire("acme")
    writer.delete(EXPIRY)
    assert answer(resolver) == ("first", Source.STALE_CACHE)


def test_deleted_expiry_of_what_was_looked_at(site: Site, writer: Writer) -> None:
    """Nor where the cache then holds what the process found at its last look before."""
    resolver = site.process()
    for _ in range(2):
        version(resolver)
    site.service.failure = DOWN
    resolver.cache.expire("acme")
    writer.delete(EXPIRY)
    assert answer(resolver) == ("first", Source.STALE_CACHE)


def test_clock_that_is_behind(site: Site, writer: Writer) -> None:
    """An invalidation by a machine whose clock is an hour behind counts, and is no replay."""
    resolver, other = site.process(), site.process()
    version(resolver)
    site.changes("second")
    site.clock.now -= HOUR
    other.cache.invalidate("acme")
    assert version(other) == "second"
    site.clock.now += HOUR
    assert version(resolver) == "second"
    assert "replayed" not in site.rejections


def test_clock_that_is_put_back(site: Site, writer: Writer) -> None:
    """A generation that is made anew while the clock is put back is newer than the one before."""
    resolver = site.process()
    version(resolver)
    before = writer.copy()
    writer.delete(OWN)
    site.changes("second")
    site.clock.now -= 10
    assert version(resolver) == "second"
    writer.restore(before)
    site.changes("third")
    assert answer(resolver) == ("third", Source.SERVICE)
    assert site.rejections == ["replayed"]


def test_generation_that_is_made_by_a_machine_behind(site: Site, writer: Writer) -> None:
    """It is newer than an expiry that is left says, though the clock is behind that."""
    resolver, other = site.process(), site.process()
    resolver.cache.invalidate("acme")
    writer.delete(OWN)
    site.clock.now -= 10
    assert answer(other) == ("first", Source.SERVICE)
    assert answer(other) == ("first", Source.CACHE)
    assert site.rejections == []


def test_generation_that_is_evicted_on_a_machine_behind(site: Site, writer: Writer) -> None:
    """Machines with different clocks agree on a generation after one of them has replaced it."""
    resolver, other = site.process(), site.process()
    version(resolver)
    writer.delete(OWN, EVERYTHING)
    site.clock.now -= 10
    assert version(other) == "first"
    site.clock.now += 10
    assert version(resolver) == "first"
    assert site.rejections == ["replayed"]
    for each in (other, resolver, other):
        assert answer(each) == ("first", Source.CACHE)
    assert site.rejections == ["replayed"]


# --- blocks


def forgets(*resolvers: InstanceResolver) -> None:
    """Have processes forget what they saw of parts, as they do after STALE_MAX_AGE and a minute."""
    for each in resolvers:
        tokens = each.cache.tiers.shared.tokens
        assert isinstance(tokens, SealedTokens)
        tokens._newest._parts.clear()


def test_block_and_its_end(site: Site, call: Twin) -> None:
    """With keys all processes see a block, an invalidation leaves it, and lifting lifts it."""
    resolver, other = site.process(), site.process()
    call(resolver, "block_instance", "acme", HOUR)
    assert is_blocked(resolver)
    assert is_blocked(other)
    call(other, "invalidate_cache", "acme")
    assert is_blocked(other)
    call(other, "unblock_instance", "acme")
    assert not is_blocked(resolver)
    assert not is_blocked(other)
    assert site.rejections == []
    call(resolver, "block_instance", "acme", HOUR)
    assert is_blocked(other)
    site.clock.now += HOUR + 1
    assert not is_blocked(other)


def test_block_during_a_rotation(site: Site) -> None:
    """Rotated as the docs say, each process sees a block that one a step behind or ahead sets."""
    steps = [[OTHER_KEY], [OTHER_KEY, KEY], [KEY, OTHER_KEY], [KEY]]
    for one, next_one in pairwise(steps):
        for setter, seer in ((one, next_one), (next_one, one)):
            site.process(encryption_keys=setter).block_instance("acme", HOUR)
            other = site.process(encryption_keys=seer)
            assert is_blocked(other)
            assert is_blocked(site.process(encryption_keys=setter))
            other.unblock_instance("acme")
            assert not is_blocked(site.process(encryption_keys=setter))


def test_block_without_a_key(site: Site, writer: Writer) -> None:
    """Who has no key sets no block, neither by hand nor by a site without keys."""
    resolver, open_one = site.process(), site.process(encryption_keys=())
    version(resolver)
    for end in (int(site.clock.now) + 999, "9" * 10, "9" * 12):  # the last is after all dates
        for form in ("0" * 16, "0" * 28, "0" * 28 + "t" + "0" * 32):
            writer.put(dict.fromkeys((OWN, EXPIRY), f"guntil{end}g{form}"))
            assert not is_blocked(resolver)
    open_one.block_instance("acme", HOUR)
    assert not is_blocked(resolver)


def test_block_is_seen_without_a_key(site: Site) -> None:
    """While processes with and without keys run, a block set with a key counts in both."""
    site.process().block_instance("acme", HOUR)
    assert is_blocked(site.process(encryption_keys=()))


def test_block_of_another_id_or_part(site: Site, writer: Writer) -> None:
    """A block that is copied to another id, or from one part to the other, is none there."""
    resolver = site.process()
    version(resolver)
    resolver.block_instance("other", HOUR)
    theirs = writer.copy("instance_generation:other", "instance_expiry:other")
    writer.put({OWN: theirs["instance_generation:other"]})
    assert not is_blocked(resolver)
    writer.put({"instance_generation:other": theirs["instance_expiry:other"]})
    writer.delete("instance_expiry:other")
    with pytest.raises(InstanceBlocked):  # this process knows of it
        resolver.resolve(asks(instance_id="other"))


@pytest.mark.parametrize(
    "undo",
    [
        lambda writer, before: writer.restore(before),
        lambda writer, before: writer.delete(OWN, EXPIRY),
        lambda writer, before: writer.put(dict.fromkeys((OWN, EXPIRY), "g0123456789abcdef")),
        lambda writer, before: writer.delete(*KEYS),
    ],
    ids=["put back", "deleted", "junk", "flushed"],
)
@pytest.mark.parametrize("hours", [0, 12])
def test_block_that_a_writer_removes(site: Site, writer: Writer, undo: object, hours: int) -> None:
    """Where a block is known it goes on, and the first look there sets it for all again."""
    resolver, other = site.process(), site.process()
    resolver.cache.expire("acme")
    for each in (resolver, other):
        version(each)
    before = writer.copy()
    site.clock.now += 1
    resolver.block_instance("acme", 24 * HOUR)
    assert is_blocked(other)
    site.clock.now += hours * HOUR
    if hours:
        forgets(resolver, other)
    assert callable(undo)
    undo(writer, before)
    for each in (resolver, other):
        assert is_blocked(each)
        with pytest.raises(InstanceBlocked):
            each.cache.generation("acme")
    assert is_blocked(site.process())
    site.clock.now += (24 - hours) * HOUR
    assert not is_blocked(other)


@pytest.mark.parametrize("act", ["invalidate", "expire"])
def test_block_that_is_gone_when_it_is_invalidated(
    site: Site, writer: Writer, act: str, call: Twin
) -> None:
    """An invalidation or expiry puts a block that it knows of back, too."""
    resolver = site.process()
    resolver.block_instance("acme", HOUR)
    writer.delete(OWN, EXPIRY)
    call(resolver.cache, act, "acme")
    assert is_blocked(site.process())


def test_block_that_cannot_be_put_back() -> None:
    """Where the cache takes no writes the block goes on in the process that knows of it."""
    with override_settings(CACHES=hooked_caches()):
        resolver = InstanceResolver(config_service_backend=Service(), encryption_keys=[KEY])
        resolver.block_instance("acme", HOUR)
        Writer("default").delete(*KEYS)
        with hooks(lambda verb, key: raising() if verb in ("set", "add") else None):
            assert is_blocked(resolver)
        assert is_blocked(resolver)


def raising() -> None:
    raise ConnectionError("no writes")


def test_lifted_block_put_back(site: Site, writer: Writer) -> None:
    """An old block does not come back, nor does an old "lifted" lift a newer block."""
    resolver, other = site.process(), site.process()
    resolver.block_instance("acme", 24 * HOUR)
    block = writer.copy(OWN, EXPIRY)
    site.clock.now += 1
    resolver.unblock_instance("acme")
    lifted = writer.copy(OWN, EXPIRY)
    writer.put(block)
    assert not is_blocked(resolver)
    writer.put(block)
    resolver.invalidate_cache("acme")  # it leaves blocks as they are, and this is none
    assert not is_blocked(resolver)
    assert not is_blocked(site.process())
    writer.put(lifted)
    site.clock.now += 1
    resolver.block_instance("acme", 24 * HOUR)
    assert is_blocked(other)
    for _ in range(2):
        writer.put(lifted)
        assert is_blocked(resolver)
        assert is_blocked(other)
        forgets(resolver, other)  # a block is remembered for longer than what was seen


def test_lifted_block_is_learned_of_late(site: Site, writer: Writer) -> None:
    """A process that saw a block, and looks again hours after it was lifted, learns of that."""
    resolver, other = site.process(), site.process()
    resolver.block_instance("acme", 24 * HOUR)
    assert is_blocked(other)
    site.clock.now += HOUR
    resolver.unblock_instance("acme")
    resolver.invalidate_cache("acme")
    site.clock.now += 12 * HOUR
    assert not is_blocked(other)
    site.service.instances.clear()
    with pytest.raises(InstanceNotFound):
        resolver.refresh("acme")
    assert writer.copy(OWN)[OWN].startswith("gfreed")


@pytest.mark.parametrize("later", [1, 12 * HOUR])
def test_lifted_block_put_back_for_one_who_believes_it(
    site: Site, writer: Writer, later: float
) -> None:
    """A process that took it for a block does not make it one again once it was refused."""
    resolver, young = site.process(), site.process()
    resolver.block_instance("acme", 24 * HOUR)
    block = writer.copy(OWN, EXPIRY)
    site.clock.now += 1
    resolver.unblock_instance("acme")
    writer.put(block)
    assert is_blocked(young)
    assert not is_blocked(resolver)
    site.clock.now += later
    assert not is_blocked(young)
    assert not is_blocked(resolver)


def test_lifted_block_is_told_for_as_long_as_it_would_have_lasted() -> None:
    """Also by the part that replaces what was put back: those who believed that may look late."""
    with override_settings(CACHES=hooked_caches()):
        resolver = InstanceResolver(config_service_backend=Service(), encryption_keys=[KEY])
        resolver.block_instance("acme", 24 * HOUR)
        block = Writer("default").copy(OWN, EXPIRY)
        resolver.unblock_instance("acme")
        Writer("default").put(block)
        assert not is_blocked(resolver)
        assert (HookedCache.lives[EXPIRY] or 0) > 23 * HOUR


@pytest.mark.parametrize("act", ["invalidate", "expire"])
def test_lifted_block_is_learned_of_by_a_change(site: Site, act: str, call: Twin) -> None:
    """A process that saw a block, and then changes the id before it looks, sets no block again."""
    resolver, other = site.process(), site.process()
    resolver.block_instance("acme", 24 * HOUR)
    assert is_blocked(other)
    site.clock.now += 1
    resolver.unblock_instance("acme")
    call(other.cache, act, "acme")
    assert not is_blocked(site.process())
    assert not is_blocked(resolver)
    assert not is_blocked(other)


def test_list_of_blocked(site: Site, writer: Writer) -> None:
    """A list of many instances shows the blocks that count, and no others."""
    from instance_lookup.cache.peeks import blocked_among

    resolver = site.process()
    resolver.block_instance("acme", HOUR)
    writer.put({"instance_expiry:other": f"guntil{int(site.clock.now) + 999}g{'0' * 16}"})
    assert blocked_among(resolver.cache.tiers.shared, ["acme", "other", "third"]) == {"acme"}
    assert blocked_among(site.process().cache.tiers.shared, ["acme", "other"]) == {"acme"}


# --- what is known


def part(at: int) -> Part:
    return new_part(at, until=0.0, freed=0.0, floor=0, was="")


def test_part_is_read_as_it_was_written() -> None:
    """All that a part says is in its text, which is letters and digits and begins with one."""
    for made in (
        part(0),
        part(2**48 - 1),
        new_part(7, until=99.0, freed=0.0, floor=0, was=""),
        new_part(7, until=0.0, freed=99.0, floor=5, was="g" + "ab" * 8),
    ):
        assert Part.parse(made.value) == made
        assert made.value.isalnum()
        assert made.value[0] == "g"
    assert Part.parse("g" + "0" * 16) is None
    assert part(7).value != part(7).value


def test_newest_is_kept() -> None:
    """What comes late, by another thread, lowers nothing."""
    newest = Newest(60.0)
    for key in (OWN, EVERYTHING):
        assert newest.of(key) is None
        later, earlier = part(2), part(1)
        newest.see(key, later)
        newest.see(key, earlier)
        assert newest.of(key) is later
        newest.hear(key, 9)
        newest.hear(key, 8)
        assert (newest.at(key), newest.heard(key)) == (2, 9)


def test_newest_of_many_ids() -> None:
    """Both parts of 10,000 ids are known, and what was heard of each; then the oldest goes."""
    newest = Newest(60.0)
    for number in range(10_001):
        if number == 10_000:
            assert [newest.at("own:0"), newest.at("expiry:0"), newest.heard("own:0")] == [1, 1, 1]
        for name in ("own", "expiry"):
            newest.see(f"{name}:{number}", part(1))
        newest.hear(f"own:{number}", 1)
    assert [newest.at("own:0"), newest.at("expiry:0"), newest.heard("own:0")] == [0, 0, 0]
    assert newest.at("expiry:1") == 1


@pytest.mark.parametrize("key", [OWN, EVERYTHING])
def test_newest_of_two_threads(key: str) -> None:
    """A part that another thread saw between the look and the lock stays."""

    class Racing(Newest):
        later: Part | None = part(2)

        def at(self, key: str) -> int:
            found = super().at(key)
            later, self.later = self.later, None
            if later is not None:
                self.see(key, later)
            return found

    newest = Racing(60.0)
    newest.see(key, part(1))
    assert newest.at(key) == 2
