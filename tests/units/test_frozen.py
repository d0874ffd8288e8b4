from __future__ import annotations

import copy
import json
import pickle
import pprint
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from instance_lookup.frozen import MASK, FrozenDict, SecretBytes, SecretDict, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES: dict[str, Callable[[Any], object]] = {
    "setitem": lambda d: d.__setitem__("a", 2),
    "delitem": lambda d: d.__delitem__("a"),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("b", 2),
    "update": lambda d: d.update(b=2),
    "ior": lambda d: d.__ior__({"b": 2}),
}


class Limits(Struct):
    names: list[str]
    inner: Any = None


@pytest.mark.parametrize("kind", [FrozenDict, SecretDict])
@pytest.mark.parametrize("change", CHANGES)
def test_frozen_dict_refuses_change(kind: type[FrozenDict], change: str) -> None:
    """No method of a dict changes what all requests of the process share."""
    frozen = kind({"a": 1})
    with pytest.raises(TypeError, match=rf"{kind.__name__} is immutable; copy it with dict\(\)"):
        CHANGES[change](frozen)
    assert dict(frozen) == {"a": 1}


@pytest.mark.parametrize("kind", [FrozenDict, SecretDict])
def test_frozen_dict_takes_no_attributes(kind: type[FrozenDict]) -> None:
    """It has no `__dict__` to leave something in for the next request."""
    with pytest.raises(AttributeError):
        kind().note = "mine"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [FrozenDict, SecretDict])
def test_frozen_dict_copies_are_itself(kind: type[FrozenDict]) -> None:
    """What cannot change need not be copied, and secrets should not be."""
    frozen = kind({"a": [1]})
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen
    assert copy.deepcopy({"inside": frozen})["inside"] is frozen


def test_frozen_dict_is_a_dict_to_json() -> None:
    """Templates, `json.dumps` and comparisons take it for the dict it is."""
    assert json.dumps(FrozenDict({"a": 1})) == '{"a": 1}'
    assert FrozenDict({"a": 1}) == {"a": 1}


def test_frozen_dict_hash_follows_equality() -> None:
    """Equal ones hash alike, whatever the order, so configs can be keys."""
    assert hash(FrozenDict({"a": 1, "b": 2})) == hash(FrozenDict({"b": 2, "a": 1}))
    assert len({FrozenDict({"a": 1}), FrozenDict({"a": 1}), FrozenDict({"a": 2})}) == 2


def test_frozen_dict_survives_pickle() -> None:
    """A plain one holds no secret and comes back as what it was."""
    back = pickle.loads(pickle.dumps(FrozenDict({"a": 1})))
    assert back == {"a": 1}
    assert type(back) is FrozenDict


@pytest.mark.parametrize("show", [repr, str, format, ascii, pprint.pformat, "{}".format])
def test_secret_dict_shows_no_value(show: Callable[[object], str]) -> None:
    """Names may be shown, values not, whichever way something is turned into text."""
    shown = show(SecretDict({"ideogram": "sk-SECRET"}))
    assert "sk-SECRET" not in shown
    assert shown == f"{{'ideogram': '{MASK}'}}"


def test_secret_dict_hides_inside_other_values() -> None:
    """A container that holds it shows it by its repr."""
    holder = [{"deep": (SecretDict({"a": "sk-SECRET"}),)}]
    assert "sk-SECRET" not in f"{holder} {pprint.pformat(holder, width=1)}"


def test_secret_dict_gives_value_by_key() -> None:
    """Who asks for a key by its name gets the plain string."""
    keys = SecretDict({"ideogram": "sk-SECRET"})
    assert keys["ideogram"] == keys.get("ideogram") == "sk-SECRET"
    assert type(keys["ideogram"]) is str


def test_secret_dict_missing_key_shows_no_other() -> None:
    """A KeyError names what was asked for, not what is there."""
    with pytest.raises(KeyError) as caught:
        SecretDict({"ideogram": "sk-SECRET"})["openai"]
    assert str(caught.value) == "'openai'"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_dict_refuses_pickle(protocol: int) -> None:
    """A pickle of it would be a leaked key."""
    with pytest.raises(TypeError, match="API keys cannot be pickled"):
        pickle.dumps(SecretDict({"a": "b"}), protocol)


def test_secret_bytes_shows_its_length_only() -> None:
    """Where a debug page shows local variables, a document is a number of bytes."""
    secret = SecretBytes(b"sk-SECRET")
    assert f"{secret} {secret!r} {secret!s}" == " ".join(["<9 bytes, not shown>"] * 3)


def test_secret_bytes_are_bytes() -> None:
    """To decoders and comparisons it is what it holds."""
    assert SecretBytes(b"abc") == b"abc"
    assert SecretBytes(b"abc").decode() == "abc"


@pytest.mark.parametrize("value", ["text", 5, 1.5, True, None, b"raw", FrozenDict(a=1), object()])
def test_freeze_leaves_what_cannot_change(value: object) -> None:
    """What is immutable, or unknown, is returned itself."""
    assert freeze(value) is value


@pytest.mark.parametrize(
    ("value", "frozen"),
    [
        ({"a": [1]}, FrozenDict({"a": (1,)})),
        ([[1], {"a": 2}], ((1,), FrozenDict({"a": 2}))),
        (([1], 2), ((1,), 2)),
        ({1, 2}, frozenset({1, 2})),
        (bytearray(b"x"), b"x"),
        (OrderedDict(a=[1]), FrozenDict({"a": (1,)})),
        (MappingProxyType({"a": [1]}), FrozenDict({"a": (1,)})),
    ],
)
def test_freeze_goes_all_the_way_down(value: object, frozen: object) -> None:
    """Every container inside is replaced by one that cannot change."""
    result = freeze(value)
    assert result == frozen
    assert type(result) is type(frozen)
    hash(result)  # which anything mutable inside would refuse


def test_freeze_reaches_into_structs() -> None:
    """A struct in a field of a subclass is frozen inside, where it stands."""
    limits = Limits(names=["a"], inner=[Limits(names=["b"], inner="c")])
    assert freeze(limits) is limits
    assert (limits.names, limits.inner[0].names) == (("a",), ("b",))


def test_secret_dict_hides_its_values_from_sentry() -> None:
    """Sentry goes through mappings item by item, unless the class says how it is to be shown."""
    secrets = SecretDict({"a": "k9"})
    assert type(secrets).__sentry_repr__(secrets) == repr({"a": MASK})
