"""From the release before, which encrypted by Fernet and knew no tags, to this one."""

from __future__ import annotations

import zlib
from base64 import b64encode
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.fernet import Fernet

from instance_lookup import ConfigServiceUnavailable, Source
from instance_lookup.cache.codec import is_former
from instance_lookup.cache.entry import Generation, pack
from instance_lookup.cache.keys import new_token
from instance_lookup.cache.kinds import PROJECT, instance_kind
from instance_lookup.types import InstanceConfig
from tests.support.lookups import DOWN, Twin, acme, asks, project, provide_variant
from tests.support.sealing import (
    ENTRY,
    EVERYTHING,
    EXPIRY,
    KEY,
    OTHER_KEY,
    OWN,
    PARAMS,
    Site,
    Writer,
    answer,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras
KIND = instance_kind(InstanceConfig)


@pytest.fixture(params=PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from provide_variant(request, tmp_path)


def entry_before(
    site: Site, under: Generation, name: str = "before", *, key: str = KEY, compressed: bool = False
) -> str:
    """Return an entry as the release before stored it under a generation."""
    body, now = msgspec.json.encode(acme(name)), site.clock.now
    packed: bytes = pack(KIND, "acme", body, generation=under, cached_at=now, ttl=300, etag=None)
    if compressed:
        packed = b"z:" + b64encode(zlib.compress(packed))
    return Fernet(key).encrypt(packed).decode()


def left_behind(site: Site, writer: Writer, *, expiry: str = "", **options: object) -> Generation:
    """Put into the cache what the release before left there; return its generation."""
    under = Generation(new_token(), new_token(), expiry)
    entry = entry_before(site, under, **options)  # type: ignore[arg-type]
    writer.put({EVERYTHING: under.everything, OWN: under.own, ENTRY: entry})
    if expiry:
        writer.put({EXPIRY: expiry})
    return under


@pytest.mark.parametrize("options", [{}, {"compressed": True}, {"expiry": "g" + "e" * 16}])
def test_fresh(site: Site, writer: Writer, options: dict[str, object], call: Twin) -> None:
    """A fresh entry of the release before is a hit, and refresh seals it in the new form."""
    left_behind(site, writer, **options)  # type: ignore[arg-type]
    resolver = site.process()
    for _ in range(2):
        result = call(resolver, "resolve", asks())
        assert (result.config.r2_bucket, result.source) == ("before", Source.CACHE)
    assert is_former(writer.copy(ENTRY)[ENTRY])
    call(resolver, "refresh", "acme")
    assert writer.copy(ENTRY)[ENTRY][:4] in ("gcm1", b"gcm1")
    assert answer(resolver) == ("first", Source.CACHE)
    assert answer(site.process()) == ("first", Source.CACHE)


def test_stale_in_an_outage(site: Site, writer: Writer, call: Twin) -> None:
    """The stale copies of the release before carry the site through an outage, as long as ever."""
    left_behind(site, writer)
    site.service.failure = DOWN
    site.clock.now += 301
    resolver, other = site.process(), site.process()
    for each in (resolver, other, resolver):
        result = call(each, "resolve", asks())
        assert (result.config.r2_bucket, result.source) == ("before", Source.STALE_CACHE)
    # Generations with tags stand in the cache by now.
    assert "w" in writer.copy(OWN)[OWN]
    assert answer(site.process()) == ("before", Source.STALE_CACHE)
    site.clock.now += 3_299
    with pytest.raises(ConfigServiceUnavailable):
        version(site.process())


def test_other_ids_are_not_lost(site: Site, writer: Writer) -> None:
    """A lookup of an id without an entry costs those with one nothing: all share a generation."""
    left_behind(site, writer)
    resolver = site.process()
    site.service.instances["other"] = acme("other's", instance_id="other")
    assert resolver.resolve(asks(instance_id="other")).source is Source.SERVICE
    assert writer.copy(EVERYTHING)[EVERYTHING].count("t") == 1
    assert answer(resolver) == ("before", Source.CACHE)


def test_project(site: Site, writer: Writer) -> None:
    """A project mapping of the release before is read as well."""
    under = left_behind(site, writer)
    body = b'{"project_id": "shop", "instance_id": "acme"}'
    now, own = site.clock.now, new_token()
    packed: bytes = pack(
        PROJECT, "shop", body, generation=under._replace(own=own), cached_at=now, ttl=300, etag=None
    )
    writer.put({
        "instance_project:shop": Fernet(KEY).encrypt(packed).decode(),
        "instance_project_generation:shop": own,
    })  # fmt: skip
    assert site.process().resolve(project()).config.r2_bucket == "before"
    assert not site.service.calls


@pytest.mark.parametrize("verb", ["invalidate", "invalidate_all"])
def test_invalidated(site: Site, writer: Writer, verb: str, call: Twin) -> None:
    """What this release invalidated does not come back, though old parts are put back."""
    left_behind(site, writer)
    resolver = site.process()
    assert version(resolver) == "before"
    before = writer.copy()
    call(resolver.cache, verb, *(["acme"] if verb == "invalidate" else []))
    writer.restore(before)
    assert version(resolver) == "first"


def test_heard(site: Site, writer: Writer) -> None:
    """Nor where the invalidation was only heard of."""
    left_behind(site, writer)
    resolver = site.process()
    assert version(resolver) == "before"
    resolver.cache.tiers.hear("instance", "acme")
    assert version(resolver) == "first"


@pytest.mark.parametrize("part", [EVERYTHING, OWN, EXPIRY])
def test_changed_by_the_release_before(site: Site, writer: Writer, part: str) -> None:
    """While both releases run, an invalidation or expiry by a process of the old one counts."""
    left_behind(site, writer)
    writer.put({part: new_token()})
    assert answer(site.process()) == ("first", Source.SERVICE)


def test_expired_before(site: Site, writer: Writer) -> None:
    """An entry that was expired is stale, and serves where the service fails."""
    left_behind(site, writer)
    writer.put({EXPIRY: new_token()})
    site.service.failure = DOWN
    for _ in range(2):
        assert answer(site.process()) == ("before", Source.STALE_CACHE)


def test_stored_by_the_release_before_under_a_tag(site: Site, writer: Writer) -> None:
    """While both releases run, what an old process stores under parts with tags is read."""
    resolver = site.process()
    resolver.cache.expire("acme")
    version(resolver)
    found = writer.copy()
    under = Generation(found[EVERYTHING], found[OWN], found[EXPIRY])
    writer.put({ENTRY: entry_before(site, under)})
    assert answer(resolver) == ("before", Source.CACHE)
    assert answer(site.process()) == ("before", Source.CACHE)


def test_plain_generation_counts_for_no_sealed_entry(site: Site, writer: Writer) -> None:
    """A part without its tag is unknown: an entry of this release is not served under it."""
    resolver = site.process()
    version(resolver)
    found = writer.copy()
    for key in (OWN, EVERYTHING):
        writer.put({**found, key: found[key].rpartition("t")[0]})
        site.changes(f"after {key}")
        assert version(site.process()) == f"after {key}"


def test_plain_generation_handed_over_counts_for_no_sealed_entry(
    site: Site, writer: Writer, call: Twin
) -> None:
    """Nor is an entry that someone stores under such parts: only what names tags is served."""
    left_behind(site, writer)
    resolver = site.process()
    config = resolver.resolve(asks()).config
    found = writer.copy(EVERYTHING, OWN)
    under = f"{found[EVERYTHING]}.{found[OWN]}."
    call(resolver.cache, "set", "acme", config, generation=under)
    writer.put(found)
    assert answer(site.process()) == ("first", Source.SERVICE)


def test_entry_that_is_not_of_it(site: Site, writer: Writer) -> None:
    """An old entry under other parts, or by a key that is gone, is absent and counted."""
    under = left_behind(site, writer)
    resolver = site.process()
    for entry in (
        entry_before(site, under._replace(own=new_token())),
        entry_before(site, under._replace(everything=new_token())),
        entry_before(site, under, key=OTHER_KEY),
        Fernet(KEY).encrypt(b'{"v": 1, "generation": "short"}').decode(),
    ):
        writer.put({OWN: under.own, EVERYTHING: under.everything, ENTRY: entry})
        assert answer(site.process()) == ("first", Source.SERVICE)
        writer.restore({})
    assert resolver.get_cache_stats().rejected == 0
    assert len(site.rejections) == 4


def test_keys_of_the_release_before(site: Site, writer: Writer) -> None:
    """Keys made by Fernet go on, in any place of the list."""
    key = Fernet.generate_key().decode()
    left_behind(site, writer, key=key)
    resolver = site.process(encryption_keys=[KEY, key])
    assert answer(resolver) == ("before", Source.CACHE)
    resolver.refresh("acme")
    assert answer(site.process()) == ("first", Source.CACHE)
