"""What a probe found: what was seen, whether that is all right, what to do. All pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceLookupError
from instance_lookup.frozen import MASK
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_USER_INFO = re.compile(r"(?<=//)\S*@")
_LONGEST = 600
"""Characters that are shown of one text: a service may send names of any length."""


class Level(StrEnum):
    """How good it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and there is something to correct."""
    ERROR = "error"
    """It would not work."""
    SKIPPED = "skipped"
    """Not looked at; the finding says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found."""

    probe: str
    """Its name, always the same."""
    level: Level
    seen: str
    """What was seen, in words."""
    do: str = ""
    """What to do about it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured: seconds, bytes, days and counts, by name."""

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def without(self, secrets: Iterable[str]) -> Finding:
        """Return the finding, fit for one line each, without ``secrets`` and users of URLs.

        A service or a backend may repeat what it was sent, in a header or in an error.
        """
        return replace(self, seen=_clean(self.seen, secrets), do=_clean(self.do, secrets))


def ok(probe: str, seen: str, **figures: float) -> Finding:
    """Return the finding that all is right."""
    return Finding(probe, Level.OK, seen, figures=figures)


def warning(probe: str, seen: str, do: str, **figures: float) -> Finding:
    """Return the finding that something is to be mended. ``do`` says what; ``probe`` found it.

    ``seen`` is what was seen, ``figures`` are what was measured.
    """
    return Finding(probe, Level.WARNING, seen, do, figures)


def error(probe: str, seen: str, do: str, **figures: float) -> Finding:
    """Return the finding that it would not work. ``do`` says what to mend; ``probe`` found it.

    ``seen`` is what was seen, ``figures`` are what was measured.
    """
    return Finding(probe, Level.ERROR, seen, do, figures)


def skipped(probe: str, why: str, do: str = "") -> Finding:
    """Return the finding that ``probe`` was not made; ``do`` is what would let it be made."""
    return Finding(probe, Level.SKIPPED, why, do)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0: all is right; 1: there is something to correct; 2: it would not work."""
    levels = {finding.level for finding in findings}
    return 2 if Level.ERROR in levels else int(Level.WARNING in levels)


def failure(exc: BaseException) -> str:
    """Return what an error is, in words that hold no secret.

    The text of an error of ours holds none, by its contract. Of any other one only the class is
    shown.
    """
    if isinstance(exc, ConfigServiceUnavailable) and (reason := exc.details.get("reason")):
        more = [str(exc.details[name]) for name in ("status", "error") if name in exc.details]
        proxy = f" at the proxy {exc.details['proxy']}" if "proxy" in exc.details else ""
        return f"{reason} ({', '.join(more)}{proxy})" if more else f"{reason}: {exc}"
    return str(exc) if isinstance(exc, InstanceLookupError) else type(exc).__name__


def _clean(text: str, secrets: Iterable[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, MASK)
    text = _USER_INFO.sub(f"{MASK}@", printable(text))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
