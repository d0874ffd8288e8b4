"""What an event of the Config Service means, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from instance_lookup.cache.entry import names_twice
from instance_lookup.conf import get_settings

if TYPE_CHECKING:
    from instance_lookup.resolver import InstanceResolver

_EXPIRING = {"instance.updated": True, "instance.deleted": False, "instance.revoked": False}
_OF_PROJECTS = {"project.updated": False, "project.deleted": False}
TYPES: dict[str, bool] = _EXPIRING | _OF_PROJECTS
"""The types of event that are acted on, and which of them expire instead of invalidate."""


class Change(NamedTuple):
    """Something that is no longer as it was fetched."""

    kind: str
    """``"instance"`` or ``"project"``."""
    id: str
    expires: bool
    """True: expire, and refresh ahead if it is in use. False: invalidate."""


class _Event(Struct):
    """What every event has. What else there is, such as a timestamp, is not believed or read."""

    type: str
    data: Any = None


class _Data(Struct):
    instance_id: str | UnsetType = UNSET
    project_id: str | UnsetType = UNSET


def parse(body: bytes) -> Change | None:
    """Return what the JSON ``body`` of an event says; ``None`` for a type that is not known.

    Raises ``ValueError`` for anything that is no event. Its message holds no value of the body but
    the type and the id.
    """
    try:
        event = msgspec.json.decode(body, type=_Event)
        twice = names_twice(body)
    except RecursionError:
        raise ValueError("not an event: nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as exc:
        raise ValueError(f"not an event: {_said(exc)}") from None
    if twice:  # readers do not agree which of the two values counts
        raise ValueError("not an event: one object has the same name twice")
    if (expires := TYPES.get(event.type)) is None:
        return None
    try:
        data = msgspec.convert(event.data, _Data)
    except msgspec.ValidationError as exc:
        raise ValueError(f"data of {event.type!r}: {_said(exc)}") from None
    kind = event.type.partition(".")[0]
    return Change(kind, _id_in(data, kind, event.type), expires)


def apply(change: Change, resolver: InstanceResolver) -> None:
    """Have all processes ask the Config Service about what has changed before it is served again.

    Blocks, for a few commands to the cache: a refresh goes on in the background. ``resolver`` has
    the cache. Raises ``CacheError``: then the change is not known to have reached the cache.
    """
    if change.kind == "project":
        resolver.invalidate_project(change.id)
    elif change.expires:
        resolver.cache.expire(change.id)
        configs, _ = resolver.loaders
        configs.refresh_if_used(change.id)
    else:
        resolver.invalidate_cache(change.id)


def _id_in(data: _Data, kind: str, event_type: str) -> str:
    found = data.project_id if kind == "project" else data.instance_id
    if found is UNSET:
        raise ValueError(f"data of {event_type!r}: {kind}_id is missing")
    if not get_settings().id_regex.fullmatch(found):
        raise ValueError(f"data of {event_type!r}: {kind}_id is {found[:100]!r}, which is no id")
    return found


def _said(exc: Exception) -> str:
    """Return what is wrong; never what was read."""
    return str(exc) if isinstance(exc, msgspec.MsgspecError) else type(exc).__name__
