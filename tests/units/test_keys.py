from __future__ import annotations

import pytest

from instance_lookup.cache.blocks import Blocks
from instance_lookup.cache.entry import Generation
from instance_lookup.cache.keys import Keys, as_token, block_end, lease_key, new_token
from instance_lookup.cache.kinds import PROJECT
from instance_lookup.cache.tokens import Tokens

A, B, C = new_token(), new_token(), new_token()


def as_generation(*found: object) -> Generation | None:
    return Tokens(Blocks()).look("a", Keys.of(PROJECT, "a"), found).generation


@pytest.mark.parametrize("as_read", [str, str.encode])
def test_generation_as_read(as_read: type) -> None:
    """A generation is read from text or bytes, since some serializers return bytes."""
    assert as_generation(as_read(A), as_read(B), as_read(C)) == Generation(A, B, C)


@pytest.mark.parametrize("value", [None, "", "a.b", 7, b"\xff", object()])
def test_generation_with_a_part_that_is_none(value: object) -> None:
    """A generation with a missing part is unknown; only the mark of expiry may be missing."""
    assert as_generation(A, value, None) is None
    assert as_generation(value, B, None) is None
    assert as_generation(A, B, value) == Generation(A, B)


@pytest.mark.parametrize("asked", ["a", "a" * 64, "a" * 150, "ü", "a b"])
def test_lease_key_is_no_longer_than_that_of_a_generation(asked: str) -> None:
    """The key of a lease is no longer than that of a generation: memcached has a limit of 250."""
    key = lease_key(PROJECT, asked, Generation(A, B))
    assert len(key) <= len(Keys.of(PROJECT, "a" * 150).own)
    assert key.isascii()
    assert " " not in key


@pytest.mark.parametrize("as_read", [str, str.encode])
def test_part_that_blocks(as_read: type) -> None:
    """A part that blocks an id says until when, and is a part like any other besides."""
    part = as_read(new_token(1_800_000_000.2))
    assert block_end(None, part) == block_end(part, as_read(A)) == 1_800_000_001.0
    token = as_token(part) or ""
    assert as_generation(A, part, part) == Generation(A, token, token)
    assert new_token(1_800_000_000) != new_token(1_800_000_000)


@pytest.mark.parametrize(
    "part", ["g0123456789abcdef", None, 7, "guntil", "guntil18g", b"\xff", "guntil9" * 9]
)
def test_part_that_does_not_block(part: object) -> None:
    """Every other part blocks nothing, whatever was written there."""
    assert block_end(part, part) == 0.0
