"""What a limit allows, how an instance stands, and how the headers say so. All pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from instance_lookup.types import RateLimit

MINUTE, DAY = 60, 86_400
"""Seconds. Days begin at midnight UTC, as Unix time counts them."""


class Standing(NamedTuple):
    """What is left of a limit after a call, or at its refusal."""

    wait: float
    """Seconds until a call is let through; 0: this one is."""
    left: int
    """Calls that would be let through now, by ``rpm`` and ``rpm_burst``."""
    more_in: float
    """Seconds until those are more; 0: they are as many as can be."""
    left_today: int | None = None
    """Calls of this day that are left; ``None``: they have no limit."""
    day_left: float = 0.0
    """Seconds until the day ends."""


def most_at_once(limit: RateLimit) -> int:
    """Return how many calls are let through at once after a quiet time."""
    return limit.rpm if limit.rpm_burst is None else limit.rpm_burst


def seconds_to_fill(limit: RateLimit) -> float:
    """Return how long it takes until as many are let through again. The limit lets some through."""
    return most_at_once(limit) * MINUTE / limit.rpm


def closed(limit: RateLimit, now: float) -> Standing | None:
    """Return the standing of a limit that lets no call through, ever; ``None``: it lets some.

    ``now`` is Unix time. To wait does not help until the configuration changes.
    """
    if limit.rpm and most_at_once(limit) and limit.daily != 0:
        return None
    day_left = DAY - now % DAY
    if limit.daily == 0:
        return Standing(day_left, most_at_once(limit), 0.0, 0, day_left)
    return Standing(MINUTE, 0, MINUTE, limit.daily, day_left)


def policy_of(name: str, limit: RateLimit) -> str:
    """Return what ``RateLimit-Policy`` says of a limit: its quotas and their windows.

    The form is that of draft-ietf-httpapi-ratelimit-headers: a list of strings, with parameters.
    """
    most = most_at_once(limit)
    window = seconds_to_fill(limit) if limit.rpm and most else MINUTE
    policy = f'"{name}";q={most};w={max(1, round(window))}'
    return policy if limit.daily is None else f'{policy}, "{name}-daily";q={limit.daily};w={DAY}'


def standing_of(name: str, standing: Standing) -> str:
    """Return what ``RateLimit`` says: calls left, and seconds until there are more."""
    said = f'"{name}";r={standing.left};t={math.ceil(standing.more_in)}'
    if standing.left_today is None:
        return said
    return f'{said}, "{name}-daily";r={standing.left_today};t={math.ceil(standing.day_left)}'
