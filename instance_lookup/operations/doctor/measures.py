"""What measured times mean. All pure."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from instance_lookup.cache.entry import CLOCK_SKEW
from instance_lookup.operations.doctor.findings import Finding, error, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Sequence

RENEW = 21
"""Days before its end on which a certificate is to be renewed."""
_DAY = 86_400


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the smallest of some times that ``share`` of them do not exceed."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]


def judge_latency(
    seconds: Sequence[float], failures: Sequence[str], *, soft_timeout: float, timeout: float
) -> Finding:
    """Judge what some calls took.

    ``seconds`` are the times of those that were answered, ``failures`` says of each other one why
    not. ``soft_timeout`` and ``timeout`` are the settings ``SOFT_TIMEOUT`` and
    ``CONFIG_SERVICE_TIMEOUT``, in seconds.
    """
    calls = len(seconds) + len(failures)
    if not seconds:
        seen = f"none of {calls} calls was answered: {failures[0]}"
        return error("latency", seen, "Find out why in the log of the service.", calls=calls)
    p50, p95 = percentile(seconds, 0.5), percentile(seconds, 0.95)
    figures = {"calls": calls, "failed": len(failures), "p50": round(p50, 6), "p95": round(p95, 6)}
    seen = f"p50 {milliseconds(p50)}, p95 {milliseconds(p95)} of {calls} calls"
    if failures:
        seen += f"; {len(failures)} failed: {failures[0]}"
        return warning("latency", seen, "Find out why in the log of the service.", **figures)
    if p95 > timeout / 2:
        do = (
            f"Make it faster, or raise CONFIG_SERVICE_TIMEOUT ({timeout:g} s): beyond half of that"
            " processes stop waiting for each other, and each asks for itself."
        )
        return warning("latency", seen, do, **figures)
    if p95 > soft_timeout:
        do = (
            f"Make it faster, or raise SOFT_TIMEOUT ({soft_timeout:g} s): who has a stale copy is"
            " served that one after it."
        )
        return warning("latency", seen, do, **figures)
    return ok("latency", seen, **figures)


def judge_clock(date: str | None, sent: float, received: float) -> Finding:
    """Judge the clock of the service by the ``Date`` of an answer.

    ``sent`` and ``received`` are when it was asked for and came, as Unix time.
    """
    if date is None:
        return skipped("clock", "the service sends no Date")
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return warning("clock", "the Date that the service sends is none", "Send an HTTP date.")
    # The header has whole seconds: its clock was between told and told + 1 while we waited.
    ahead, behind = told - received, sent - (told + 1)
    difference = max(ahead, behind, 0.0)
    words = "ahead" if ahead > behind else "behind"
    figures = {"difference": round(difference if ahead > behind else -difference, 3)}
    if difference > CLOCK_SKEW:
        return warning(
            "clock",
            f"the service is {difference:.0f} s {words} of this machine",
            "Have both set their clocks by NTP: dates in Retry-After are taken by our clock.",
            **figures,
        )
    return ok("clock", f"differs by less than {difference + 1:.0f} s", **figures)


def judge_certificate(not_after: float, now: float, on: str) -> Finding:
    """Judge when a certificate ends: ``not_after`` as Unix time, ``on`` as a day. ``now`` is now.

    It has been verified, so it has not ended yet.
    """
    days = int((not_after - now) // _DAY)
    seen = f"ends on {on}, in {days} day{'' if days == 1 else 's'}"
    if days < RENEW:
        do = "Renew it: after that day calls of the service fail, and copies run out."
        return warning("certificate", seen, do, days_left=days)
    return ok("certificate", seen, days_left=days)


def milliseconds(seconds: float) -> str:
    """Return a time, as people say it."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
