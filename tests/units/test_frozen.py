from __future__ import annotations

import copy
import json
import pickle
import pprint
from collections import ChainMap, OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from django.template import Context, Template
from msgspec import Struct

from instance_lookup.frozen import (
    MASK,
    FrozenDict,
    SecretBytes,
    SecretDict,
    UrlDict,
    freeze,
    hide,
    masked_url,
)

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
    """A frozen dict takes no attributes, so that no request leaves something for the next."""
    with pytest.raises(AttributeError):
        kind().note = "mine"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [FrozenDict, SecretDict])
def test_frozen_dict_copies_are_itself(kind: type[FrozenDict]) -> None:
    """A copy of a frozen dict is the same object."""
    frozen = kind({"a": [1]})
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen
    assert copy.deepcopy({"inside": frozen})["inside"] is frozen


def test_frozen_dict_is_a_dict_to_json() -> None:
    """Templates, `json.dumps` and comparisons take it for the dict it is."""
    assert json.dumps(FrozenDict({"a": 1})) == '{"a": 1}'
    assert FrozenDict({"a": 1}) == {"a": 1}


def test_frozen_dict_hash_follows_equality() -> None:
    """Equal dicts hash alike, in any order, so configs can be keys."""
    assert hash(FrozenDict({"a": 1, "b": 2})) == hash(FrozenDict({"b": 2, "a": 1}))
    assert len({FrozenDict({"a": 1}), FrozenDict({"a": 1}), FrozenDict({"a": 2})}) == 2


def test_frozen_dict_survives_pickle() -> None:
    """A plain one holds no secret and comes back as what it was."""
    back = pickle.loads(pickle.dumps(FrozenDict({"a": 1})))
    assert back == {"a": 1}
    assert type(back) is FrozenDict


@pytest.mark.parametrize("show", [repr, str, format, ascii, pprint.pformat, "{}".format])
def test_secret_dict_shows_no_value(show: Callable[[object], str]) -> None:
    """Names may be shown, values not, in each way to turn the dict into text."""
    shown = show(SecretDict({"ideogram": "sk-SECRET"}))
    assert "sk-SECRET" not in shown
    assert shown == f"{{'ideogram': '{MASK}'}}"


DERIVED: dict[str, Callable[[Any], object]] = {
    "copy": lambda d: d.copy(),
    "or": lambda d: d | {"b": "sk-SECRET"},
    "or itself": lambda d: d | d,
    "ror": lambda d: {"b": "sk-SECRET"} | d,
    "ror of a frozen one": lambda d: FrozenDict(b="sk-SECRET") | d,
    "proxy": MappingProxyType,
    "or of a proxy": lambda d: MappingProxyType(d) | {"b": "sk-SECRET"},
    "items": lambda d: d.items(),
    "values": lambda d: d.values(),
    "iterators": lambda d: [iter(d.items()), iter(d.values()), reversed(d.values())],
    "chain": lambda d: ChainMap({}, d),
}


@pytest.mark.parametrize(
    "show", [repr, str, format, ascii, pprint.pformat, "{}".format, "%r".__mod__]
)
@pytest.mark.parametrize("derive", DERIVED)
def test_secret_dict_hides_in_what_is_derived_from_it(
    derive: str, show: Callable[[object], str]
) -> None:
    """A mapping or view made of a ``SecretDict`` hides its values as well."""
    derived = DERIVED[derive](SecretDict({"a": "sk-SECRET"}))
    assert "sk-SECRET" not in show([derived]) + show((derived,))


@pytest.mark.parametrize("derive", ["copy", "or", "or itself", "ror", "ror of a frozen one"])
def test_mapping_made_of_a_secret_dict_is_one(derive: str) -> None:
    """A mapping derived from a ``SecretDict`` is a ``SecretDict`` too."""
    assert type(DERIVED[derive](SecretDict({"a": "sk-SECRET"}))) is SecretDict


def test_secret_dict_merges_like_a_dict() -> None:
    """The right one counts, in the order of a dict; what is no dict is refused."""
    merged = SecretDict({"a": "1", "b": "2"}) | {"c": "3", "a": "4"}
    assert list(merged.items()) == [("a", "4"), ("b", "2"), ("c", "3")]
    assert {"b": "0", "c": "3"} | SecretDict({"b": "2"}) == {"b": "2", "c": "3"}
    pairs: Any = [("a", "1")]
    with pytest.raises(TypeError, match="unsupported operand"):
        SecretDict() | pairs
    with pytest.raises(TypeError, match="unsupported operand"):
        pairs | SecretDict()


def test_secret_dict_views_do_what_views_of_a_dict_do() -> None:
    """The views can be iterated, reversed, compared, counted and searched."""
    plain = {"a": "1", "b": "2"}
    secrets: Any = SecretDict(plain)
    items, values = secrets.items(), secrets.values()
    assert (list(items), list(values)) == (list(plain.items()), list(plain.values()))
    assert list(reversed(items)) == list(reversed(plain.items()))
    assert list(reversed(values)) == ["2", "1"]
    assert items == plain.items()
    assert plain.items() == items
    assert (len(items), ("a", "1") in items, "2" in values) == (2, True, True)


def test_secret_dict_views_do_in_templates() -> None:
    """A template asks for their length, and goes through them backwards."""
    loop = "{% for k, v in d.items reversed %}{{ k }}{% endfor %}"
    assert Template(loop).render(Context({"d": SecretDict({"a": "1", "b": "2"})})) == "ba"


def test_secret_dict_gives_what_is_asked_for_plainly() -> None:
    """`dict`, JSON, lists and sets of a ``SecretDict`` hold the plain values."""
    secrets = SecretDict({"a": "1"})
    assert type(dict(secrets)) is type({**secrets}) is dict
    assert json.dumps(secrets) == json.dumps(secrets, indent=None) == '{"a": "1"}'
    assert json.loads(json.dumps(secrets, indent=1)) == {"a": "1"}
    assert msgspec.json.encode(secrets) == b'{"a":"1"}'
    assert type(secrets.items() & {("a", "1")}) is type(secrets.items() | set()) is set


@pytest.mark.parametrize("derive", ["copy", "or", "items", "values"])
def test_what_is_derived_from_a_secret_dict_refuses_pickle(derive: str) -> None:
    """What is derived from a ``SecretDict`` cannot be pickled."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(DERIVED[derive](SecretDict({"a": "b"})))


def test_secret_dict_hides_inside_other_values() -> None:
    """A ``SecretDict`` is hidden in the repr of a container that holds it."""
    holder = [{"deep": (SecretDict({"a": "sk-SECRET"}),)}]
    assert "sk-SECRET" not in f"{holder} {pprint.pformat(holder, width=1)}"


def test_secret_dict_gives_value_by_key() -> None:
    """A value that is read by its key is the plain string."""
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
    """``SecretBytes`` show only their length as text, for example on a debug page."""
    secret = SecretBytes(b"sk-SECRET")
    assert f"{secret} {secret!r} {secret!s}" == " ".join(["<9 bytes, not shown>"] * 3)


def test_secret_bytes_are_bytes() -> None:
    """``SecretBytes`` work as bytes in decoders and comparisons."""
    assert SecretBytes(b"abc") == b"abc"
    assert SecretBytes(b"abc").decode() == "abc"


@pytest.mark.parametrize("value", ["text", 5, 1.5, True, None, b"raw", FrozenDict(a=1), object()])
def test_freeze_leaves_what_cannot_change(value: object) -> None:
    """An immutable or unknown value is returned unchanged."""
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


@pytest.mark.parametrize("hidden", [hide("sk-secret"), hide(b"sk-secret")])
def test_hidden_value_shows_nothing(hidden: Any) -> None:
    """A hidden value shows nothing, in each way to turn it into text."""
    shown = f"{hidden} {hidden!r} {hidden!s} {[hidden]} %s %r" % (hidden, hidden)
    assert "secret" not in shown
    assert "secret" not in type(hidden).__sentry_repr__(hidden)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_hidden_text_is_pickled_as_what_it_is(protocol: int) -> None:
    """A pickle of hidden text holds plain text, which other releases can read."""
    back = pickle.loads(pickle.dumps(hide("sk-secret"), protocol))
    assert type(back) is str
    assert back == "sk-secret"


def test_hidden_text_is_the_text() -> None:
    """Hidden text works as text for serializers."""
    assert hide("sk-secret").encode() == b"sk-secret"
    assert json.dumps(hide("sk-secret")) == '"sk-secret"'
    assert hide(7) == 7


URL = "https://user:sk-SECRET@worker.example/jobs?sig=sk-SECRET#sk-SECRET"


@pytest.mark.parametrize("show", [repr, str, format, ascii, pprint.pformat, "{}".format])
@pytest.mark.parametrize(
    "derive",
    [
        lambda urls: urls,
        lambda urls: urls.copy(),
        lambda urls: urls | {"more": URL},
        lambda urls: {"more": URL} | urls,
        lambda urls: urls.items(),
        lambda urls: urls.values(),
        lambda urls: type(urls).__sentry_repr__(urls),
        lambda urls: UrlDict({**urls, "no": 5}),
    ],
)
def test_url_dict_shows_no_credentials(
    show: Callable[[object], str], derive: Callable[[Any], object]
) -> None:
    """Where a worker is may be shown, its user, password and query may not."""
    shown = show(derive(UrlDict({"render": URL})))
    assert "sk-SECRET" not in shown
    assert "worker.example/jobs" in shown


def test_url_dict_gives_plain_urls() -> None:
    """What is asked for is the URL itself, also after a pickle."""
    back = pickle.loads(pickle.dumps(UrlDict({"render": URL})))
    assert (type(back), back["render"], list(back.values())) == (UrlDict, URL, [URL])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://images.example:8443/run", "https://images.example:8443/run"),
        ("https://user:pw@images.example/", "https://********@images.example/"),
        ("https://user:p?w#@images.example/", "https://********@images.example/"),
        ("user:pw@images.example", "********@images.example"),
        ("https://images.example/?key=pw", "https://images.example/?********"),
        ("https://images.example/#pw", "https://images.example/?********"),
        ("https://[broken/?pw\npw", "https://[broken/?********"),
        ("", ""),
    ],
)
def test_masked_url_hides_credentials(url: str, shown: str) -> None:
    """User, password and query of a worker's URL are never shown, however the URL is written."""
    assert masked_url(url) == shown
