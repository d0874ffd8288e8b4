"""A cache entry: its stored form, how fresh it is, and what may be believed of it. All pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from instance_lookup.frozen import SecretBytes

if TYPE_CHECKING:
    from instance_lookup.kinds import Kind
    from instance_lookup.types import InstanceConfig

D = TypeVar("D", bound=Struct)

FORMAT = 1
CLOCK_SKEW = 5.0
"""Seconds by which the clocks of two machines may differ."""
DOES_NOT_EXIST = b"null"
"""The document of an id that the Config Service does not know."""


_REPEATING = re.compile(
    r"(Invalid (?:enum )?value|Object contains unknown field) .*?(?= - at `\$[\w.\[\]]*`\Z|\Z)",
    re.DOTALL,
)
"""Messages of msgspec that repeat what they are about, up to the place."""


class Rejected(ValueError):
    """A document is not what it should be. The message holds none of its values."""


class Freshness(Enum):
    """What an entry of some age is good for."""

    FRESH = "fresh"
    """Serve it."""
    STALE = "stale"
    """Ask the Config Service; serve it only if that fails."""
    PURGED = "purged"
    """As if absent."""


def freshness(cached_at: float, ttl: float, stale_max_age: float, now: float) -> Freshness:
    """Tell what an entry is good for at ``now``. Ages count from ``cached_at``; all in seconds."""
    age = now - cached_at
    if age >= stale_max_age:
        return Freshness.PURGED
    # An entry from the future would be fresh for ever: some clock is wrong, so ask.
    return Freshness.FRESH if -CLOCK_SKEW <= age < ttl else Freshness.STALE


class Generation(NamedTuple):
    """What an entry was stored under. Written anew by whoever invalidates."""

    everything: str
    """Changed by ``invalidate_all``."""
    own: str
    """Changed by ``invalidate``."""
    expiry: str = ""
    """Changed by ``expire``; empty: never expired."""

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, token: str) -> Generation:
        """Return the generation that ``str`` made ``token`` of. Raise ``ValueError``."""
        parts = token.split(".")
        if len(parts) != 3 or not (parts[0] and parts[1]):
            raise ValueError(f"{token!r} is not a generation; take it from generation()")
        return cls(*parts)

    def admits(self, token: str) -> bool:
        """Tell whether an entry stored under ``token`` may be served at all."""
        return token.startswith(f"{self.everything}.{self.own}.")

    def expires(self, token: str) -> bool:
        """Tell whether the entry stored under ``token`` is to be taken for stale."""
        return bool(self.expiry) and not token.endswith("." + self.expiry)


class _Stored(Struct):
    """What an entry holds of either kind, unread."""

    config: Raw = Raw()
    project: Raw = Raw()


class Entry(Struct, Generic[D], frozen=True):
    """An entry that may be served: right format, right id, right generation."""

    document: D | None
    """``None``: the Config Service said that it does not exist."""
    raw: Raw
    """The entry as stored; unlike text it does not show itself."""
    cached_at: float
    ttl: float
    generation: str
    etag: str | None
    freshness: Freshness = Freshness.FRESH
    """As of when it was last looked at, see :meth:`under`."""
    expired: bool = False
    """Stale because somebody said so, not by age."""

    @property
    def body(self) -> SecretBytes:
        """The document as the Config Service wrote it."""
        stored = msgspec.json.decode(self.raw, type=_Stored)
        return SecretBytes(stored.config or stored.project)

    def under(self, generation: Generation, stale_max_age: float, now: float) -> Entry[D] | None:
        """Return it as of ``now``; ``None`` if it is purged or of another generation."""
        if self.generation == "%s.%s.%s" % generation:  # noqa: UP031  # spares two calls
            return self.aged(stale_max_age, now)
        if not generation.admits(self.generation):
            return None
        return self.aged(stale_max_age, now, expired=generation.expires(self.generation))

    def aged(self, stale_max_age: float, now: float, *, expired: bool = False) -> Entry[D] | None:
        """Return it as of ``now``, ``None`` if it is too old for anything."""
        state = freshness(self.cached_at, self.ttl, stale_max_age, now)
        if state is Freshness.PURGED:
            return None
        if expired:
            state = Freshness.STALE
        if state is self.freshness and expired is self.expired:
            return self
        return replace(self, freshness=state, expired=expired)

    def ttl_remaining(self, now: float) -> float:
        """Return the seconds for which it stays fresh."""
        return (
            max(0.0, self.cached_at + self.ttl - now) if self.freshness is Freshness.FRESH else 0.0
        )


@dataclass(frozen=True, slots=True)
class Peek(Generic[D]):
    """What a look that leaves no trace found: nothing minted, counted or deleted."""

    stored: object = field(repr=False)
    """The entry's value as the backend gave it; ``None``: there is none, or nobody can read it."""
    entry: Entry[D] | None
    """What a lookup would make of it."""
    unreadable: bool = False


def pack(
    kind: Kind[D],
    asked: str,
    body: bytes,
    *,
    generation: Generation | None,
    cached_at: float,
    ttl: float,
    etag: str | None,
) -> str:
    """Return the stored form of an entry. ``body`` is UTF-8, as ``read_document`` has made sure."""
    envelope = kind.envelope(
        v=FORMAT,
        instance_id=asked,
        config=Raw(body),
        cached_at=cached_at,
        ttl=ttl,
        generation="" if generation is None else str(generation),
        etag=etag,
    )
    return msgspec.json.encode(envelope).decode()


def unpack(kind: Kind[D], asked: str, stored: str | bytes) -> Entry[D]:
    """Return what is stored for the id ``asked``; :meth:`Entry.under` tells what it is good for.

    Raises ``Rejected`` for anything that is not an entry of this id in this format.
    """
    try:
        envelope = kind.decode_entry.decode(stored)
    except Exception:  # noqa: BLE001  # a CONFIG_CLASS may raise anything
        raise Rejected("not a cache entry") from None
    if envelope.v != FORMAT or envelope.instance_id != asked:
        raise Rejected(f"an entry of format {envelope.v} for another id or release")
    document = envelope.config
    return Entry(
        document=None if document is None else _checked(kind, asked, document),
        raw=Raw(stored),
        cached_at=envelope.cached_at,
        ttl=envelope.ttl,
        generation=envelope.generation,
        etag=envelope.etag,
    )


def read_document(kind: Kind[D], asked: str, body: bytes) -> D:
    """Return the document in the JSON ``body``. Raise ``Rejected`` unless it is of ``asked``."""
    body = SecretBytes(body)  # as it is shown where local variables are
    try:
        raw = Raw(body.decode())
    except UnicodeError:
        raise Rejected(f"not a valid {kind.name} document: not UTF-8") from None
    return _read(kind, asked, raw)


def _read(kind: Kind[D], asked: str, raw: Raw) -> D:
    try:
        document = kind.decode_document.decode(raw)
    except Exception as exc:  # noqa: BLE001  # a CONFIG_CLASS may raise anything
        # Without the cause: some decoders' errors hold the whole body, and so the keys in it.
        raise Rejected(
            f"not a valid {kind.name} document: {type(exc).__name__}: {_place(exc)}"
        ) from None
    return _checked(kind, asked, document)


def _checked(kind: Kind[D], asked: str, document: D) -> D:
    if getattr(document, kind.id_field) != asked:
        raise Rejected(f"the {kind.name} document is of another id")
    if kind.points_to and not kind.points_to.fullmatch(document.instance_id):  # type: ignore[attr-defined]
        raise Rejected(f"the {kind.name} document names something that is no instance id")
    return document


def _place(exc: Exception) -> str:
    # msgspec names the type and the place: "Expected `int`, got `str` - at
    # `$.rate_limits[...].rpm`", and but for these two cases never what it read. The errors of
    # Python itself may, and what a CONFIG_CLASS raises, which msgspec hands on as the cause.
    if isinstance(exc, msgspec.MsgspecError) and exc.__cause__ is None:
        return _REPEATING.sub(r"\1", str(exc))
    return "nested too deeply, or not to the liking of CONFIG_CLASS"


def encode_document(config: InstanceConfig) -> SecretBytes:
    """Return a config as the JSON that the Config Service would have sent."""
    return SecretBytes(msgspec.json.encode(config))
