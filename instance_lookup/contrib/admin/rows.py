"""What an inspection reads like on a page: a row of the list, or the facts of one instance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import time
from typing import TYPE_CHECKING, Self

from django.contrib.admin.utils import quote
from django.template.defaultfilters import filesizeformat

from instance_lookup.inspection import State
from instance_lookup.management.table import duration
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.inspection import Inspection
    from instance_lookup.operations.stored import Seen

UNKNOWN = "unknown"
"""The state of an instance while the cache does not answer."""

MARKS = {
    State.FRESH: "●",
    State.STALE: "◐",
    State.NEGATIVE: "⊘",
    State.BLOCKED: "■",
    State.ABSENT: "○",
    State.UNREADABLE: "▲",
    UNKNOWN: "?",
}
"""A sign for each state, so that colour is not needed to tell them apart."""

MEANINGS = {
    State.FRESH: "A request gets the copy from the cache, at once.",
    State.STALE: (
        "A request has the Config Service asked. It gets the copy below if the service fails or is"
        " slow, until the copy is purged."
    ),
    State.NEGATIVE: "A request gets 404: the Config Service said that there is no such instance.",
    State.BLOCKED: (
        "Every request is refused with 403, whatever the Config Service says (with"
        " CONCEAL_DENIED: 404)."
    ),
    State.ABSENT: "A request waits for the Config Service. If that fails, it gets 503.",
    State.UNREADABLE: (
        "A request waits for the Config Service. What is stored is of another id, format or key,"
        " and is replaced by the answer."
    ),
    UNKNOWN: (
        "The cache does not answer, so what it holds is not known. A request waits for the Config"
        " Service. If that fails too, it gets 503."
    ),
}
"""What a request of a user who may have the instance gets now."""

MEANS_NO_STALE = (
    "A request has the Config Service asked. If that fails, it gets 503: USE_STALE_ON_ERROR is off."
)
NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instance, as text."""

    id: str
    state: str = UNKNOWN
    name: str = ""
    owner: str = ""
    tenant: str = ""
    age: str = NOTHING
    age_share: int = 0
    """Percent of the time until it is purged."""
    ttl_left: str = NOTHING
    purged_in: str = NOTHING
    size: str = NOTHING
    generation: str = NOTHING
    note: str = ""
    source: str = NOTHING
    """Where the last answer to a lookup came from."""
    failure: str = NOTHING
    """The last failure of the Config Service, and how long ago."""

    @classmethod
    def of(cls, one: Inspection, settings: Settings, seen: Seen | None = None) -> Self:
        """Return the row for an inspection.

        ``settings`` say when a copy is purged. ``seen`` is what the reports know of the instance,
        such as who owned it when the cache last held it.
        """
        known = cls.unknown(one.instance_id, seen)
        about = (one.config or {}).get("metadata", {})
        return replace(
            known,
            state=one.state.value,
            name=printable(about.get("name") or known.name),
            owner=printable(one.owner or known.owner),
            tenant=printable(about.get("tenant_id") or known.tenant),
            age=_time(one.age),
            age_share=share(one.age or 0, settings.stale_max_age),
            ttl_left=_time(one.ttl_left),
            purged_in=_time(one.purged_in),
            size=NOTHING if one.size is None else filesizeformat(one.size),
            generation=one.generation or NOTHING,
            note=one.note,
        )

    @classmethod
    def unknown(cls, instance_id: str, seen: Seen | None = None) -> Self:
        """Return the row for an instance while the cache does not answer.

        ``seen`` is what is known of it otherwise.
        """
        if seen is None:
            return cls(id=instance_id)
        failure = NOTHING
        if seen.failed_at is not None:
            failure = f"{seen.failure}, {duration(max(0.0, time() - seen.failed_at))} ago"
        return cls(
            id=instance_id,
            name=printable(seen.name or ""),
            owner=printable(seen.owner or ""),
            tenant=printable(seen.tenant_id or ""),
            source=(seen.source or NOTHING).replace("_", " "),
            failure=failure,
        )

    @property
    def mark(self) -> str:
        """The sign of its state."""
        return MARKS[self.state]

    @property
    def quoted(self) -> str:
        """The id as the admin's URLs have it."""
        return str(quote(self.id))


def meaning(state: str, settings: Settings) -> str:
    """Return what a request gets while an instance is in ``state``."""
    if state == State.STALE and not settings.use_stale_on_error:
        return MEANS_NO_STALE
    return MEANINGS[state]


def share(part: float, whole: float) -> int:
    """Return how many percent ``part`` is of ``whole``, from 0 to 100."""
    return max(0, min(100, round(100 * part / whole)))


def _time(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds)
