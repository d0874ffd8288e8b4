"""A cache entry: its stored form, how fresh it is, and what may be believed of it. All pure."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from instance_lookup.cache.faults import problem_of
from instance_lookup.cache.leniency import LeftOut, decode_leniently
from instance_lookup.frozen import SecretBytes

if TYPE_CHECKING:
    from instance_lookup.cache.kinds import Kind

D = TypeVar("D", bound=Struct)
T = TypeVar("T")

FORMAT = 1
CLOCK_SKEW = 5.0
"""Seconds by which the clocks of two machines may differ."""


class Rejected(ValueError):
    """A document is not what it should be. The message holds none of its values."""


class OtherSpelling(Rejected):
    """A document is of an id that differs from what was asked for in case or blanks only."""


class Freshness(Enum):
    """What an entry of some age is good for."""

    FRESH = "fresh"
    """Serve it."""
    STALE = "stale"
    """Ask the Config Service; serve it only if that fails."""
    PURGED = "purged"
    """As if absent."""


def freshness(cached_at: float, ttl: float, stale_max_age: float, now: float) -> Freshness:
    """Tell how fresh an entry is at ``now``.

    Its age counts from ``cached_at``; both are Unix times. It is fresh below an age of ``ttl``
    seconds, and may be served stale below one of ``stale_max_age`` seconds.
    """
    age = now - cached_at
    if age >= stale_max_age:
        return Freshness.PURGED
    # An entry from the future would be fresh for ever. Some clock is wrong, so ask the service.
    return Freshness.FRESH if -CLOCK_SKEW <= age < ttl else Freshness.STALE


class Generation(NamedTuple):
    """The three random tokens that an entry was stored under. An invalidation replaces one."""

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
        everything, own, expiry = parts if len(parts) == 3 else ("", "", "")
        if not (everything.isalnum() and own.isalnum() and (expiry.isalnum() or not expiry)):
            raise ValueError(f"{token!r} is not a generation; take it from generation()")
        return cls(everything, own, expiry)


class _Stored(Struct):
    """What an entry holds of either kind, unread."""

    config: Raw = Raw()
    project: Raw = Raw()
    generation: str = ""


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
    """Stale because of ``expire``, not by age."""

    @property
    def body(self) -> SecretBytes:
        """The document as the Config Service wrote it."""
        stored = msgspec.json.decode(self.raw, type=_Stored)
        return SecretBytes(stored.config or stored.project)

    def under(self, generation: Generation, stale_max_age: float, now: float) -> Entry[D] | None:
        """Return the entry as of ``now``; ``None`` if it is purged or of another generation.

        ``generation`` is what the cache holds now, ``stale_max_age`` is in seconds, ``now`` is Unix
        time.
        """
        if not self.is_of(generation):
            return None
        expiry = generation.expiry
        expired = bool(expiry) and not self.generation.endswith(f".{expiry}")
        return self.aged(stale_max_age, now, expired=expired)

    def is_of(self, generation: Generation) -> bool:
        """Tell whether it was stored under a generation. It may be expired all the same."""
        return self.generation.startswith(f"{generation.everything}.{generation.own}.")

    def aged(self, stale_max_age: float, now: float, *, expired: bool = False) -> Entry[D] | None:
        """Return the entry as of ``now`` (Unix time); ``None`` if it is too old to be served.

        It is from ``stale_max_age`` seconds on. An ``expired`` one is stale at any age.
        """
        state = freshness(self.cached_at, self.ttl, stale_max_age, now)
        if state is Freshness.PURGED:
            return None
        if expired:
            state = Freshness.STALE
        if state is self.freshness and expired is self.expired:
            return self
        return replace(self, freshness=state, expired=expired)

    def ttl_remaining(self, now: float) -> float:
        """Return the seconds for which the entry stays fresh; ``now`` is Unix time."""
        return (
            max(0.0, self.cached_at + self.ttl - now) if self.freshness is Freshness.FRESH else 0.0
        )


def pack(
    kind: Kind[D],
    asked: str,
    body: bytes,
    *,
    generation: Generation | None,
    cached_at: float,
    ttl: float,
    etag: str | None,
) -> SecretBytes:
    """Return the JSON to store as the entry of the id ``asked``, in the envelope of its ``kind``.

    ``body`` is the document's JSON, UTF-8 without a byte order mark. ``cached_at`` is Unix time,
    ``ttl`` is in seconds from then. ``generation`` ``None``: of no generation, never served from
    the shared cache. ``etag`` is the service's.
    """
    envelope = kind.envelope(
        v=FORMAT,
        instance_id=asked,
        config=Raw(body),
        cached_at=cached_at,
        ttl=ttl,
        generation="" if generation is None else str(generation),
        etag=etag,
    )
    return SecretBytes(msgspec.json.encode(envelope))


def generation_of(packed: bytes) -> str:
    """Return the generation in what :func:`pack` made."""
    return msgspec.json.decode(packed, type=_Stored).generation


def pack_missing(
    kind: Kind[D], asked: str, generation: Generation | None, *, cached_at: float, ttl: float
) -> SecretBytes:
    """Return the stored form of "the id ``asked`` does not exist", for an id of this ``kind``.

    ``generation`` is the one to store it under. It holds for ``ttl`` seconds from ``cached_at``
    (Unix time).
    """
    return pack(
        kind, asked, b"null", generation=generation, cached_at=cached_at, ttl=ttl, etag=None
    )


def unpack(kind: Kind[D], asked: str, stored: str | bytes) -> Entry[D]:
    """Return the entry in ``stored``; :meth:`Entry.under` tells if it may be served.

    It is read as a document of ``kind`` into the class that this names. ``asked`` is the id.
    Raises ``Rejected`` for anything that is not an entry of this id in this format.
    """
    try:
        raw = Raw(stored[:])  # plain: the lenient decoder takes no subclass
        envelope, _ = _decoded(kind.decode_entry, raw)
    except Exception:  # noqa: BLE001  # a CONFIG_CLASS may raise anything
        envelope = None
    if envelope is None:  # not in the handler: the error, or its frames, may hold the entry
        raise Rejected("not a cache entry")
    if envelope.v != FORMAT or envelope.instance_id != asked:
        raise Rejected(f"an entry of format {envelope.v} for another id or release")
    document = envelope.config
    return Entry(
        document=None if document is None else _checked(kind, asked, document),
        raw=raw,
        cached_at=envelope.cached_at,
        ttl=envelope.ttl,
        generation=envelope.generation,
        etag=envelope.etag,
    )


class Accepted(NamedTuple, Generic[D]):
    """A document of the Config Service that may be stored and served."""

    body: SecretBytes
    """As the service wrote it."""
    document: D
    left_out: tuple[LeftOut, ...]
    """What is in the body, and not in the document."""


def read_document(kind: Kind[D], asked: str, body: bytes) -> Accepted[D]:
    """Return what the JSON ``body`` of the service holds, as a document of ``kind``.

    Raises ``Rejected`` unless it is one, and of the id ``asked``.
    A byte order mark is dropped: it is not allowed inside the JSON of a cache entry.
    """
    body = SecretBytes(body.removeprefix(BOM_UTF8))  # hidden where tracebacks show local variables
    try:
        document, left_out = _decoded(kind.decode_document, Raw(body.decode()))
        twice = names_twice(body)
    except UnicodeDecodeError:
        problem = "not UTF-8"
    except Exception as exc:  # noqa: BLE001  # a CONFIG_CLASS may raise anything
        read_into: Any = kind.decode_document.type  # a class; stubs may call it any type's form
        problem = problem_of(exc, read_into)
    else:
        if not twice:
            return Accepted(body, _checked(kind, asked, document), left_out)
        problem = "one object has the same name twice"
    # Not in the handlers: those errors, or their frames, may hold the whole body.
    raise Rejected(f"not a valid {kind.name} document: {problem}")


def _decoded(decoder: msgspec.json.Decoder[T], raw: Raw) -> tuple[T, tuple[LeftOut, ...]]:
    try:
        return decoder.decode(raw), ()
    except msgspec.ValidationError:
        return decode_leniently(decoder, raw)


def names_twice(body: bytes) -> bool:
    """Tell whether an object gives two values for one name: readers do not agree which counts."""
    twice = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)

    # Numbers as text: that is faster, and Python reads no integer of more than 4,300 digits.
    json.loads(body, object_pairs_hook=look, parse_int=str, parse_float=str)
    return twice


def _checked(kind: Kind[D], asked: str, document: D) -> D:
    if (named := getattr(document, kind.id_field)) != asked:
        if named.strip().casefold() == asked.strip().casefold():
            raise OtherSpelling(f"the {kind.name} document spells its id in another way")
        raise Rejected(f"the {kind.name} document is of another id")
    if kind.points_to and not kind.points_to.fullmatch(document.instance_id):  # type: ignore[attr-defined]
        raise Rejected(f"the {kind.name} document names something that is no instance id")
    return document
