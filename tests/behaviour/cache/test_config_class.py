"""A project's own ``CONFIG_CLASS``: what is forgiven in its fields, and what errors say."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003  # msgspec reads annotations
from dataclasses import dataclass
from datetime import datetime  # the same
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from msgspec import Meta, Struct

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceConfig,
    InstanceMetadata,
    InstanceResolver,
)
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.entry import Generation, Rejected, pack, read_document, unpack
from instance_lookup.cache.kinds import instance_kind
from tests.support.lookups import OLGA, asks

KEY = "sk-SECRET"


class Branding(Struct, frozen=True, rename="camel"):
    logo: str = "plain"
    font_size: int = 12
    since: datetime | None = None

    def __post_init__(self) -> None:
        if self.logo == KEY:
            raise ValueError(f"{self.logo} - at `$.sk`")


@dataclass(frozen=True)
class Plan:
    seats: int = 1


class Address(TypedDict, total=False):
    city: str


class StudioMetadata(InstanceMetadata, frozen=True, kw_only=True):
    plan: str = "small"


class StudioConfig(InstanceConfig, frozen=True, kw_only=True):
    region: str = "eu"
    quota: int = 10
    limit: int | None = 5
    branding: Branding = Branding()
    brands: tuple[Branding, ...] = ()
    prices: Mapping[str, float] = {}
    by_place: Mapping[str, Branding] = {}
    numbers: Mapping[int, int] = {}
    anything: Any = "anything"
    raw: msgspec.Raw = msgspec.Raw(b"1")
    fixed: tuple[int, str] = (1, "a")
    text_or_number: int | str = 0
    plan: Plan = Plan()
    address: Address = Address()
    titled: Annotated[int, Meta(title="T")] = 3
    titled_limit: Annotated[int | None, Meta(title="T")] = 4
    metadata: StudioMetadata = StudioMetadata()


class Elsewhere(InstanceConfig, frozen=True, kw_only=True):
    """A config class whose own field types accept what ours would leave out."""

    features: Mapping[str, bool | str] = {}  # type: ignore[assignment]
    owner: int = 0


class Picky(InstanceConfig, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        super().__post_init__()
        raise {"value": ValueError, "look": LookupError}[self.r2_bucket](self.api_keys["a"])


STUDIO = instance_kind(StudioConfig)
NAME = f"{__name__}.StudioConfig"


def read(kind: Any = STUDIO, **fields: Any) -> Any:
    """Return the config, after making sure that it is the same out of the cache."""
    body = json.dumps({"instance_id": "acme", **fields}).encode()
    document = read_document(kind, "acme", body).document
    generation = Generation("all", "own")
    stored = pack(kind, "acme", body, generation=generation, cached_at=1.0, ttl=300, etag=None)
    assert unpack(kind, "acme", stored).document == document
    return document


def problem(kind: Any = STUDIO, **fields: Any) -> str:
    """Return what is said of a document that is refused."""
    body = json.dumps({"instance_id": "acme", **fields}).encode()
    with pytest.raises(Rejected) as caught:
        read_document(kind, "acme", body)
    return str(caught.value).removeprefix("not a valid instance document: ")


@pytest.mark.parametrize(
    "field",
    [
        *("region", "quota", "branding", "brands", "prices", "by_place", "numbers", "fixed"),
        *("text_or_number", "metadata", "plan", "address", "titled"),
    ],
)
def test_null_of_an_own_field_is_its_default(field: str) -> None:
    """A Go service writes null for its nil maps, also for fields of the project's own class."""
    assert getattr(read(**{field: None}), field) == getattr(StudioConfig(instance_id="a"), field)


def test_null_that_an_own_field_takes_is_null() -> None:
    """Null stays None for a field whose type allows None, even when other nulls are replaced."""
    for more in ({}, {"features": None}):
        config = read(limit=None, titled_limit=None, anything=None, **more)
        assert config.limit is config.titled_limit is None
        assert config.anything is None


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"branding": {"logo": None, "fontSize": None}}, "branding"),
        ({"brands": [{}, {"logo": None, "fontSize": None}]}, "brands"),
        ({"by_place": {"x": {"logo": None, "fontSize": 12.0}}}, "by_place"),
    ],
)
def test_null_inside_an_own_field_is_its_default(sent: dict[str, Any], path: str) -> None:
    """A null in a nested field becomes its default, in structs, lists and maps."""
    assert "plain" in repr(getattr(read(**sent), path))


def test_null_inside_an_own_dataclass_is_its_default() -> None:
    """A null becomes the default in each nested class whose fields have defaults."""
    config = read(plan={"seats": None}, address={"city": None})
    assert (config.plan, config.address) == (Plan(seats=1), {})


def test_integral_float_of_an_own_field_is_an_integer() -> None:
    """A float such as 3.0 in an integer field is read as an integer: JSON has one number type."""
    config = read(quota=60.0, titled=6.0, branding={"fontSize": 9.0}, fixed=[1, "a"], raw=1.0)
    assert (config.quota, config.titled, config.branding.font_size) == (60, 6, 9)
    assert bytes(config.raw) == b"1.0"


def test_metadata_of_an_own_class_is_forgiven_alike() -> None:
    """A metadata class of the project's own has our rules for our fields."""
    config = read(metadata={"owner": 7, "created_at": "", "plan": None})
    assert config.metadata == StudioMetadata(owner="7")


def test_own_date_is_read_as_msgspec_does() -> None:
    """A date in the project's own fields gets no offset and is never left out, unlike ours."""
    assert read(branding={"since": "2026-01-31T09:30:00"}, features=None).branding.since is not None
    assert problem(branding={"since": "2026-01-31"}) == (
        f"field `branding.since` of {NAME}: Invalid RFC3339 encoded datetime"
    )


def test_field_of_another_type_has_no_rule_of_ours() -> None:
    """A field that the project's class accepts is never left out, even when others are."""
    for more in ({}, {"api_keys": None}):
        config = read(instance_kind(Elsewhere), features={"plan": "large"}, owner=3, **more)
        assert config.features == {"plan": "large"}
        assert config.owner == 3
    assert "features[...]" in problem(instance_kind(Elsewhere), features={"plan": 5})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quota": KEY}, f"field `quota` of {NAME}: Expected `int`, got `str`"),
        ({"quota": 60.5}, f"field `quota` of {NAME}: Expected `int`, got `float`"),
        (
            {"metadata": {"plan": 5}},
            f"field `metadata.plan` of {NAME}: Expected `str`, got `int`",
        ),
        (
            {"branding": {"fontSize": KEY}},
            f"field `branding.fontSize` of {NAME}: Expected `int`, got `str`",
        ),
        (
            {"prices": {KEY: KEY}},
            f"field `prices[...]` of {NAME}: Expected `float`, got `str`",
        ),
        ({"numbers": {KEY: 1}}, f"field `numbers` of {NAME}: Expected `int`, got `str`"),
        ({"brands": [{"logo": 5}]}, f"field `brands[0].logo` of {NAME}: Expected `str`, got `int`"),
        ({"branding": {"logo": KEY}}, f"field `branding` of {NAME}: its code raised ValueError"),
        ({"instance_id": None}, f"field `instance_id` of {NAME}: Expected `str`, got `null`"),
    ],
)
def test_error_names_field_and_class(fields: dict[str, Any], said: str) -> None:
    """The error names the field and the class, and shows no value."""
    assert problem(**fields) == said
    assert problem(**fields, features=None) == said


@pytest.mark.parametrize(
    ("bucket", "error"), [("value", "ValueError"), ("look", "LookupError"), ("x", "KeyError")]
)
def test_error_of_the_class_itself_names_the_class(bucket: str, error: str) -> None:
    """An error raised by the class is named by its type, without its message."""
    said = problem(instance_kind(Picky), r2_bucket=bucket, api_keys={"a": KEY})
    assert said == f"{__name__}.Picky: its code raised {error}"


def test_error_without_a_field_names_the_class() -> None:
    """A field that is missing is in msgspec's own words."""
    with pytest.raises(Rejected) as caught:
        read_document(STUDIO, "acme", b"{}")
    assert str(caught.value) == (
        f"not a valid instance document: {NAME}: Object missing required field `instance_id`"
    )


def test_error_is_logged_with_field_and_class(caplog: pytest.LogCaptureFixture) -> None:
    """The log line of the outage names the field and the class."""
    service = DictConfigService({"acme": {"quota": KEY}})
    resolver = InstanceResolver(config_service_backend=service, config_class=StudioConfig)
    with pytest.raises(ConfigServiceUnavailable, match="not available"):
        resolver.resolve(asks(OLGA))
    assert f"field `quota` of {NAME}: Expected `int`, got `str`" in caplog.text
    assert KEY not in caplog.text
