"""Sealed entries: what someone without a key writes to the cache is absent, and is counted."""

from __future__ import annotations

from typing import Any

import pytest

from instance_lookup import InstanceNotFound, InstanceResolver, Source
from tests.support.lookups import (
    SECRET,
    Clock,
    Service,
    Twin,
    acme,
    asks,
    bucket,
    project,
)
from tests.support.sealing import (
    ENTRY,
    EVERYTHING,
    EXPIRY,
    FORMS,
    OWN,
    Site,
    Writer,
    answer,
    version,
)

pytestmark = pytest.mark.extras


def test_hit_is_a_hit(site: Site, call: Twin) -> None:
    """What one process sealed another one opens, on every kind of cache."""
    assert call(site.process(), "resolve", asks()).source is Source.SERVICE
    other = site.process()
    for _ in range(2):
        assert call(other, "resolve", asks()).source is Source.CACHE
    assert other.get_cache_stats().rejected == 0
    assert site.rejections == []


def test_nothing_shows(site: Site, writer: Writer, alias: str) -> None:
    """Neither configurations, project mappings nor "does not exist" can be read in the cache."""
    resolver = site.process()
    resolver.resolve(project())
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks(instance_id="gone"))
    values = writer.copy(ENTRY, "instance_project:shop", "instance_config:gone").values()
    assert len(values) == 3
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        assert raw.startswith((b"gcm1t:g", b"gcm1b:g"))
        assert SECRET.encode() not in raw
        assert b"acme" not in raw


def flipped(text: str | bytes, at: int) -> str | bytes:
    """Return ``text`` with one bit changed."""
    changed = bytearray(text, "ascii") if isinstance(text, str) else bytearray(text)
    changed[at] ^= 1
    return changed.decode() if isinstance(text, str) else bytes(changed)


@pytest.mark.parametrize("alias", FORMS, indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text[:40],
        lambda text: text.swapcase(),
        lambda text: flipped(text, -9),
        lambda text: flipped(text, 9),
        lambda text: '{"v": 1}',
        lambda text: "gcm1t:::",
        lambda text: "gAAAAABl",
        lambda text: "",
    ],
)
def test_damaged_entry(site: Site, writer: Writer, damage: Any) -> None:
    """An entry that does not open is absent, counted and replaced."""
    resolver = site.process()
    version(resolver)
    writer.put({ENTRY: damage(writer.copy(ENTRY)[ENTRY])})
    site.changes("second")
    assert answer(resolver) == ("second", Source.SERVICE)
    assert resolver.get_cache_stats().rejected == 1
    assert site.rejections == ["entry"]
    assert answer(resolver) == ("second", Source.CACHE)


@pytest.mark.parametrize("text", ['{"v":1}', "open"])
def test_plain_entry(site: Site, writer: Writer, text: str) -> None:
    """An entry in the clear is refused, though it be of the very generation of the cache."""
    open_one = site.process(encryption_keys=())
    version(open_one)
    plain = writer.copy(ENTRY) if text == "open" else {ENTRY: text}
    sealing = site.process()
    version(sealing)
    writer.put(plain)
    site.changes("second")
    assert answer(sealing) == ("second", Source.SERVICE)
    assert sealing.get_cache_stats().rejected == 2  # and a generation, before


def test_entry_of_another_id(site: Site, writer: Writer) -> None:
    """An entry that is copied to the key of another id, generations included, is absent."""
    site.service.instances["other"] = acme("other's", instance_id="other")
    resolver = site.process()
    version(resolver)
    resolver.resolve(asks(instance_id="other"))
    keys = {each: each.replace(":acme", ":other") for each in (ENTRY, OWN, EXPIRY)}
    others = writer.copy(*keys.values())
    writer.put({ours: others[theirs] for ours, theirs in keys.items() if theirs in others})
    assert answer(resolver) == ("first", Source.SERVICE)
    # The entry is not looked at: its generation is not believed either.
    assert site.rejections == ["generation"]
    writer.put({ENTRY: others[keys[ENTRY]]})
    assert answer(resolver) == ("first", Source.SERVICE)
    assert site.rejections == ["generation", "entry"]


def test_entry_of_the_other_kind(site: Site, writer: Writer) -> None:
    """An entry of a project is none of an instance of that name, and the other way round."""
    site.service.projects["acme"] = "acme"
    resolver = site.process()
    resolver.resolve(project(project_id="acme"))
    theirs = writer.copy("instance_project:acme", "instance_project_generation:acme")
    writer.put({
        ENTRY: theirs["instance_project:acme"], OWN: theirs["instance_project_generation:acme"]
    })  # fmt: skip
    assert answer(resolver) == ("first", Source.SERVICE)
    writer.put({ENTRY: theirs["instance_project:acme"]})
    assert answer(resolver) == ("first", Source.SERVICE)
    assert site.rejections == ["generation", "entry"]


@pytest.mark.parametrize("alias", FORMS, indirect=True)
@pytest.mark.parametrize("verb", ["invalidate", "expire", "invalidate_all", "gone"])
def test_old_entry_put_back(site: Site, writer: Writer, verb: str, call: Twin) -> None:
    """An entry from before an invalidation, an expiry or a 404 is not served again."""
    resolver, other = site.process(), site.process()
    assert version(resolver) == version(other) == "first"
    old = writer.copy(ENTRY)
    site.changes("second")
    if verb == "gone":
        del site.service.instances["acme"]
        with pytest.raises(InstanceNotFound):
            call(resolver, "refresh", "acme")
        site.changes("second")
    elif verb == "invalidate_all":
        call(resolver.cache, "invalidate_all")
    else:
        call(resolver.cache, verb, "acme")
    writer.put(old)
    assert [version(each) for each in (other, resolver)] == ["second", "second"]
    # An expired copy is a copy, for the case that the service fails: it is not refused.
    assert site.rejections == ([] if verb == "expire" else ["outdated"])


def test_rolling_change_to_keys_and_back(site: Site, writer: Writer) -> None:
    """Processes with and without keys on one cache: each one's invalidation counts for both."""
    open_one, sealing = site.process(encryption_keys=()), site.process()
    for number, changer in enumerate([sealing, open_one, sealing, open_one]):
        for each in (open_one, sealing):
            version(each)
        site.changes(f"version {number}")
        changer.cache.invalidate("acme")
        for each in (sealing, open_one):
            assert version(each) == f"version {number}"
        site.changes(f"version {number}, all")
        changer.cache.invalidate_all()
        for each in (open_one, sealing):
            assert version(each) == f"version {number}, all"


@pytest.mark.parametrize("alias", FORMS, indirect=True)
@pytest.mark.parametrize("junk", ["", "no token!", "g0123456789abcdef", "gone" * 99])
@pytest.mark.parametrize("key", [EVERYTHING, OWN, EXPIRY])
def test_junk_for_a_generation(site: Site, writer: Writer, key: str, junk: str) -> None:
    """A generation that no key has made is unknown: counted, replaced, and costs a hit."""
    resolver = site.process()
    resolver.cache.expire("acme")
    version(resolver)
    writer.put({key: junk})
    site.changes("second")
    found = answer(resolver)
    # On Redis what does not begin as a value of ours is one that a serializer wrote: it is removed,
    # and where that was an expiry the one that the process knows goes on to count.
    assert site.rejections in (["generation"], ["entry"])
    assert found == ("second", Source.SERVICE) or (key, *site.rejections) == (EXPIRY, "entry")
    assert answer(resolver) == (found[0], Source.CACHE)
    assert resolver.get_cache_stats().rejected == 1


@pytest.mark.parametrize("key", [EVERYTHING, OWN])
def test_deleted_generation(site: Site, writer: Writer, key: str) -> None:
    """A generation that is deleted costs a hit, as without keys."""
    resolver = site.process()
    version(resolver)
    writer.delete(key)
    site.changes("second")
    assert answer(resolver) == ("second", Source.SERVICE)
    assert site.rejections == []
    assert answer(resolver) == ("second", Source.CACHE)


def test_management_with_keys(site: Site, call: Twin) -> None:
    """``InstanceCache`` stores, finds and lists with keys what it does without."""
    resolver = site.process()
    config = resolver.resolve(asks()).config
    generation = call(resolver.cache, "generation", "acme")
    call(resolver.cache, "set", "acme", config, generation=generation)
    assert call(resolver.cache, "has", "acme")
    call(resolver.cache, "invalidate", "acme")
    assert not call(resolver.cache, "has", "acme")
    call(resolver.cache, "set", "acme", config, generation=generation)
    assert not call(resolver.cache, "has", "acme")
    assert call(resolver, "warm_cache", [config]) == 1
    assert bucket(resolver) == ("first", Source.CACHE)


def test_service_of_a_site_without_keys(alias: str, clock: Clock) -> None:
    """Without keys what is stored has the form that it had: readable, and parts without a tag."""
    site = Site(alias, clock)
    resolver: InstanceResolver = site.process(encryption_keys=())
    assert isinstance(site.service, Service)
    resolver.cache.expire("acme")
    version(resolver)
    found = Writer(alias).copy()
    assert found[ENTRY].startswith('{"v":1,"instance_id":"acme","config":{')
    for key in (EVERYTHING, OWN, EXPIRY):
        assert len(found[key]) == 17
        assert found[key][0] == "g"
    resolver.cache.invalidate("acme")
    version(resolver)
    Writer(alias).put({ENTRY: found[ENTRY]})
    assert answer(resolver) == ("first", Source.SERVICE)
    assert resolver.get_cache_stats().rejected == 0
