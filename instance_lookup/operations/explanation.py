"""What an explanation says: values without secrets, for text, pages and JSON alike."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, to_builtins

from instance_lookup.access.verdicts import Verdict


class Asked(Struct, frozen=True):
    """One of ``IDENTIFIERS``, and what it said."""

    name: str
    said: str
    """``"instance 'acme'"``, ``"nothing"``, ``"not asked"``, or what was wrong."""


class Layer(Struct, frozen=True, kw_only=True):
    """One place that a lookup looks into. Times are in seconds."""

    of: str
    """``"instance 'acme'"`` or ``"project 'shop'"``."""
    name: str
    """``"near"``, ``"shared"``, ``"flight"`` or ``"service"``."""
    state: str
    """``"fresh"``, ``"stale"``, ``"negative"``, ``"absent"`` …: one word or two."""
    age: float | None = None
    """Of what is there, since the Config Service was asked; of a flight, since it began."""
    ttl_left: float | None = None
    """Until it is stale."""
    purged_in: float | None = None
    """Until it is not served any more, even if the Config Service fails."""
    took: float | None = None
    """What this look took."""
    note: str = ""
    """What else there is to say."""


class Call(Struct, frozen=True):
    """What would be sent to the Config Service, or was sent."""

    to: str
    """Method and URL without credentials; for a backend without URLs what it is."""
    headers: dict[str, str]
    """Values that may be a secret are masked."""


class Ending(Struct, frozen=True, kw_only=True):
    """How the lookup ends."""

    status: int | None
    """Of the response; ``None``: the Config Service decides and was not asked, or, with an
    ``error``, there is no user to look up for."""
    message: str
    error: str | None = None
    """A ``LookupErrorType``, or the class of another error."""
    source: str | None = None
    """Where an answer comes from, as ``Source`` has it."""
    otherwise: int | None = None
    """The status where the Config Service fails, if it decides."""


class Explanation(Struct, kw_only=True):
    """Why a user gets what they get."""

    user: str
    """``"user '7'"``, ``"anonymous"`` or ``"the site itself"``."""
    request_id: str | None = None
    named: str | None = None
    """What the request names; ``None``: nothing that can be an instance."""
    instance_id: str | None = None
    """The instance that this leads to, as far as is known."""
    identifiers: list[Asked] = []
    layers: list[Layer] = []
    calls: list[Call] = []
    verdict: Verdict | None = None
    """``None``: there is no configuration to judge by."""
    ending: Ending = Ending(status=None, message="")
    hints: list[str] = []
    """What may be wrong, and what to do."""

    @property
    def cache_failed(self) -> bool:
        """Whether the cache could not be read."""
        return any(layer.state == "down" for layer in self.layers)

    @property
    def is_refused(self) -> bool:
        """Whether the lookup surely ends with an error."""
        return self.ending.error is not None or (self.ending.status or 0) >= 400

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        values: dict[str, Any] = to_builtins(self)
        return values
