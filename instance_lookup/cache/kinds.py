"""The two kinds of document that are looked up, and the form in which each is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from instance_lookup.frozen import SecretBytes

if TYPE_CHECKING:
    import re

    from instance_lookup.types import InstanceConfig

C = TypeVar("C")
D = TypeVar("D", bound=Struct)

KIND_NAMES = ("instance", "project")


class ProjectMapping(Struct, frozen=True, kw_only=True):
    """Which instance a project belongs to."""

    project_id: str
    instance_id: str


class Envelope(Struct, Generic[C], kw_only=True):
    """An entry as stored. ``config`` is the Config Service's own JSON, to the letter."""

    v: int
    instance_id: str
    config: C
    cached_at: float
    ttl: float
    generation: str
    etag: str | None = None


class ProjectEnvelope(Envelope[C], Generic[C], kw_only=True):
    """An entry of a project as stored: its fields are ``project_id`` and ``project`` there."""

    instance_id: str = msgspec.field(name="project_id")
    config: C = msgspec.field(name="project")


@dataclass(frozen=True)
class Kind(Generic[D]):
    """One of the two kinds of document that are looked up."""

    name: str
    entry_key: str
    generation_key: str
    expiry_key: str
    id_field: str
    """Where a document says what it is of."""
    envelope: type[Envelope[Any]]
    decode_entry: msgspec.json.Decoder[Envelope[D | None]]
    """Reads an entry and the document in it in one go."""
    decode_document: msgspec.json.Decoder[D]
    points_to: re.Pattern[str] | None = None
    """What the instance id in a project's document has to match."""


def instance_kind(config_class: type[InstanceConfig]) -> Kind[InstanceConfig]:
    """Return the kind of configurations, read into ``config_class``."""
    return Kind(
        name="instance",
        entry_key="instance_config",
        generation_key="instance_generation",
        expiry_key="instance_expiry",
        id_field="instance_id",
        envelope=Envelope,
        decode_entry=msgspec.json.Decoder(Envelope[config_class | None]),  # type: ignore[valid-type]
        decode_document=msgspec.json.Decoder(config_class),
    )


PROJECT: Kind[ProjectMapping] = Kind(
    name="project",
    entry_key="instance_project",
    generation_key="instance_project_generation",
    expiry_key="instance_project_expiry",
    envelope=ProjectEnvelope,
    id_field="project_id",
    decode_entry=msgspec.json.Decoder(ProjectEnvelope[ProjectMapping | None]),
    decode_document=msgspec.json.Decoder(ProjectMapping),
)


def encode_document(config: InstanceConfig) -> SecretBytes:
    """Return a config as the JSON that the Config Service would have sent."""
    return SecretBytes(msgspec.json.encode(config))
