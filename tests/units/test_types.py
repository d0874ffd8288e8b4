from __future__ import annotations

import copy
import dataclasses
import logging
import pickle
import pprint
from collections.abc import Mapping, Sequence, Set  # noqa: TC003  # msgspec reads annotations
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from instance_lookup.types import (
    CacheEntry,
    CacheStats,
    Grant,
    InstanceConfig,
    InstanceMetadata,
    LookupResult,
    RateLimit,
    Source,
)

KEY = "sk-SECRET"
FULL = b"""{
    "instance_id": "acme",
    "api_keys": {"ideogram": "sk-SECRET"},
    "rate_limits": {"ideogram": {"rpm": 60, "rpm_burst": 90, "daily": 1000}},
    "worker_urls": {"render": "https://sk-SECRET@render.example.com"},
    "r2_bucket": "acme-assets",
    "metadata": {"owner": "7", "tenant_id": "t1", "created_at": "2026-01-02T03:04:05Z"},
    "features": {"beta": true, "old": false}
}"""


class Studio(InstanceConfig, frozen=True):
    palette: Sequence[Mapping[str, Sequence[int]]] = ()
    tags: Set[str] = frozenset()
    vault: Mapping[str, str] = msgspec.field(default_factory=lambda: {"password": KEY})


def decoded(body: bytes | str, kind: type[Any] = InstanceConfig) -> Any:
    return msgspec.json.decode(body, type=kind)


def result_for(config: InstanceConfig) -> LookupResult:
    return LookupResult(config, Source.CACHE, 100.0, 30.0, Grant(config))


def entry_for(config: InstanceConfig) -> CacheEntry:
    return CacheEntry(
        config=config,
        cached_at=1.0,
        ttl=2.0,
        generation="a.b.",
        etag=None,
        source=Source.CACHE,
        ttl_remaining=1.0,
    )


def test_config_needs_its_id_only() -> None:
    """`instance_id` is the one field that is required."""
    config = decoded('{"instance_id": "acme"}')
    assert config == InstanceConfig(instance_id="acme")
    assert (config.api_keys, config.features, config.r2_bucket) == ({}, {}, "")
    with pytest.raises(msgspec.ValidationError, match="instance_id"):
        decoded("{}")


def test_config_reads_every_field() -> None:
    """The fields are those the Config Service sends, as their own types."""
    config = decoded(FULL)
    assert config.rate_limits["ideogram"] == RateLimit(rpm=60, rpm_burst=90, daily=1000)
    assert config.metadata.created_at.year == 2026
    assert (config.metadata.owner, config.metadata.tenant_id) == ("7", "t1")
    assert config.worker_urls == {"render": f"https://{KEY}@render.example.com"}
    assert config.api_keys["ideogram"] == KEY


def test_config_ignores_unknown_fields() -> None:
    """The service may add a field without breaking the sites."""
    assert decoded('{"instance_id": "a", "new": [1], "metadata": {"x": 1}}').instance_id == "a"


@pytest.mark.parametrize(
    "wrong",
    [
        '"api_keys": {"a": 5}',
        '"rate_limits": {"a": {"rpm": -1}}',
        '"rate_limits": {"a": {"rpm": 100000001}}',
        '"rate_limits": {"a": {}}',
        '"features": {"a": "yes"}',
        '"metadata": {"owner": 7}',
        '"metadata": null',
        '"metadata": {"created_at": "2026-01-31T09:30:00"}',
        '"worker_urls": {"a": "ftp://worker"}',
    ],
)
def test_config_refuses_wrong_types(wrong: str) -> None:
    """The class itself coerces nothing; what is forgiven is forgiven before."""
    with pytest.raises(msgspec.ValidationError):
        decoded(f'{{"instance_id": "a", {wrong}}}')


@pytest.mark.parametrize(
    ("name", "default", "answer"),
    [("beta", False, True), ("old", True, False), ("absent", False, False), ("absent", True, True)],
)
def test_has_feature(name: str, default: bool, answer: bool) -> None:
    """The flag where it is set, the default where it is not."""
    assert decoded(FULL).has_feature(name, default=default) is answer


@pytest.mark.parametrize("field", ["instance_id", "api_keys", "metadata", "features"])
def test_config_fields_cannot_be_set(field: str) -> None:
    """Fields of a config cannot be set, so no request changes what the next one gets."""
    with pytest.raises(AttributeError):
        setattr(decoded(FULL), field, None)


@pytest.mark.parametrize("field", ["api_keys", "rate_limits", "worker_urls", "features"])
def test_config_mappings_cannot_be_changed(field: str) -> None:
    """Mappings of a config cannot be changed, whether decoded, given or default."""
    given: dict[str, Any] = {"instance_id": "a", field: {}}
    for config in (decoded(FULL), InstanceConfig(instance_id="a"), InstanceConfig(**given)):
        with pytest.raises(TypeError, match="immutable"):
            getattr(config, field)["new"] = "x"


def test_config_holds_on_to_no_mapping_of_its_maker() -> None:
    """A config does not change when the mapping that it was made of changes."""
    features = {"beta": True}
    config = InstanceConfig(instance_id="a", features=features)
    features["beta"] = False
    assert config.has_feature("beta")


def test_config_has_no_worker_that_is_none() -> None:
    """A wrong worker URL raises without showing the URL: it may hold a password."""
    for make in (InstanceConfig, Studio):
        with pytest.raises(ValueError, match="no http") as caught:
            make(instance_id="a", worker_urls={"b": f"ftp://{KEY}"})
        assert KEY not in str(caught.value)


def test_subclass_fields_are_frozen_too() -> None:
    """The fields that a `CONFIG_CLASS` adds are shared as well."""
    config = decoded('{"instance_id":"a","palette":[{"red":[1]}],"tags":["x"]}', Studio)
    assert config.palette == ({"red": (1,)},)
    assert config.tags == frozenset({"x"})
    with pytest.raises(TypeError, match="immutable"):
        config.palette[0]["red"] = ()


def test_config_is_hashable() -> None:
    """Deeply immutable values can be keys and members of sets."""
    assert len({decoded(FULL), decoded(FULL), decoded('{"instance_id": "b"}')}) == 2


@pytest.mark.parametrize("kind", [InstanceConfig, Studio])
def test_config_copies_are_itself(kind: type[InstanceConfig]) -> None:
    """`copy` and `deepcopy` would only spread the keys."""
    config = decoded(FULL, kind)
    assert copy.copy(config) is config
    assert copy.deepcopy([config])[0] is config


@pytest.mark.parametrize("kind", [InstanceConfig, Studio])
def test_config_refuses_pickle(kind: type[InstanceConfig]) -> None:
    """A pickled config is a leaked key, and the error says of what."""
    config = decoded(FULL, kind)
    for value in (config, result_for(config), entry_for(config), Grant(config)):
        with pytest.raises(TypeError, match=f"{kind.__name__} cannot be pickled"):
            pickle.dumps(value)


@pytest.mark.parametrize("kind", [InstanceConfig, Studio])
def test_nothing_that_holds_a_config_shows_a_key(kind: type[InstanceConfig]) -> None:
    """`repr`, `str`, `format` and `pprint` show the name of a key, never its value."""
    config = decoded(FULL, kind)
    for value in (config, result_for(config), entry_for(config), Grant(config), {"c": [config]}):
        shown = f"{value} {value!r} {value!s} {pprint.pformat(value, width=1)}"
        rich: Any = getattr(value, "__rich_repr__", list)()
        assert KEY not in f"{shown} {rich}"
    for name in ("ideogram", "render.example.com", "acme-assets"):
        assert name in repr(config)


def test_replaced_config_shows_no_key() -> None:
    """A config made from another one hides and freezes as well."""
    config = replace(InstanceConfig(instance_id="a"), api_keys={"b": KEY}, features={"c": True})
    assert KEY not in repr(config)
    with pytest.raises(TypeError, match="immutable"):
        config.features["c"] = False  # type: ignore[index]


def test_logged_config_shows_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """A log line with the config or its keys as argument shows no key."""
    config = decoded(FULL)
    logging.getLogger("site").warning("got %s, %r", config, config.api_keys)
    logging.getLogger("site").warning("keys %s", config.api_keys)
    assert "ideogram" in caplog.text
    assert KEY not in caplog.text


def test_result_needs_the_grant_of_its_config() -> None:
    """A result is made only by ``authorize``, for the config that it granted."""
    mine, other = InstanceConfig(instance_id="a"), InstanceConfig(instance_id="a")
    with pytest.raises(TypeError, match="Grant that authorize"):
        LookupResult(mine, Source.CACHE, 1.0, 1.0, Grant(other))
    with pytest.raises(TypeError):
        LookupResult(mine, Source.CACHE, 1.0, 1.0)  # type: ignore[call-arg]


def test_result_repr_is_short() -> None:
    """A result in a log line names the instance and where it came from."""
    assert repr(result_for(decoded(FULL))) == (
        "LookupResult(instance_id='acme', source='cache', cached_at=100.0, ttl_remaining=30.0)"
    )


def test_sources_are_their_strings() -> None:
    """The values are part of the public interface."""
    assert [f"{source}" for source in Source] == ["cache", "service", "stale_cache"]


def test_stats_are_frozen_and_start_at_nought() -> None:
    """Statistics start at zero and cannot be changed."""
    stats = CacheStats()
    assert set(dataclasses.astuple(stats)) == {0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.hits = 1  # type: ignore[misc]


def test_metadata_is_all_optional() -> None:
    """A config without an owner has none, rather than a blank one."""
    assert InstanceMetadata().owner is None
    assert InstanceConfig(instance_id="a").metadata == InstanceMetadata()
