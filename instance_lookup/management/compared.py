"""Comparisons on a terminal: one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.management.table import duration
from instance_lookup.operations.compare import Change, Verdict
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from instance_lookup.operations.compare import Comparison, Difference


def line_of(one: Comparison) -> str:
    """Return what came of one comparison, with the fields that differ."""
    copy = one.state if one.age is None else f"{one.state} copy, {duration(one.age)} old"
    knows = "has it" if one.in_service else "does not know it"
    text = {
        Verdict.SAME: f"same ({copy})" if one.in_service else "same (both say it does not exist)",
        Verdict.DIFFERS: f"differs ({copy}): {'; '.join(map(_told, one.differences))}",
        Verdict.ONLY_CACHED: f"only in the cache ({copy}); the service {knows}",
        Verdict.ONLY_SERVICE: "only in the service; the cache remembers that it does not exist",
        Verdict.BLOCKED: f"{one.note}; the service {knows}",
        Verdict.NOT_CACHED: f"not cached ({one.note or copy}); the service {knows}",
    }[one.verdict]
    return f"{printable(one.instance_id)}: {text}"


def _told(one: Difference) -> str:
    """Return a field that differs: an API key with fingerprints, anything else without values."""
    cached, service = one.cached_fingerprint, one.service_fingerprint
    if one.change is Change.CHANGED:
        more = cached and f"cache {cached}, service {service}"
    else:
        side = "cache" if one.change is Change.ONLY_CACHED else "service"
        more = ", ".join(filter(None, [f"only in the {side}", cached or service]))
    return printable(one.field) + (f" ({more})" if more else "")
