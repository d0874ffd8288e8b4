from __future__ import annotations

import pytest

from instance_lookup.cache.entry import Generation
from instance_lookup.cache.keys import Keys, new_token
from instance_lookup.cache.kinds import PROJECT

KEYS = Keys.of(PROJECT, "shop")
A, B, C = new_token(), new_token(), new_token()


@pytest.mark.parametrize("as_read", [str, str.encode])
def test_generation_as_read(as_read: type) -> None:
    """Some serializers give text back as bytes."""
    found = {KEYS.everything: as_read(A), KEYS.own: as_read(B), KEYS.expiry: as_read(C)}
    assert KEYS.generation(found) == Generation(A, B, C)


@pytest.mark.parametrize("value", [None, "", "a.b", 7, b"\xff", object()])
def test_generation_with_a_part_that_is_none(value: object) -> None:
    """What nobody minted is unknown, and so is the whole; a mark of expiry there may be or not."""
    assert KEYS.generation({KEYS.everything: A, KEYS.own: value}) is None
    assert KEYS.generation({KEYS.everything: value, KEYS.own: B}) is None
    found = {KEYS.everything: A, KEYS.own: B, KEYS.expiry: value}
    assert KEYS.generation(found) == Generation(A, B)
