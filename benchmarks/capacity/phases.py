"""The phases of a fleet: cold, in its steady state, after an invalidation, while it is warmed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from msgspec import Struct

from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.tally import Tally, total

if TYPE_CHECKING:
    from benchmarks.capacity.plan import Plan

COLD, STEADY, INVALIDATED, WARMED = "cold start", "steady", "invalidate --all", "warm all"
_SETTLING = 2
"""So many times the ttl of the near cache does a fleet run before its steady state is watched."""


class Phase(Struct, frozen=True):
    """What was seen in one phase."""

    seconds: list[Tally]
    entries: int
    """In Redis, at the end."""

    @property
    def total(self) -> Tally:
        return total(self.seconds)

    @property
    def peak_calls(self) -> int:
        return max(each.calls for each in self.seconds)

    @property
    def peak_commands(self) -> int:
        return max(each.commands for each in self.seconds)

    def until(self, rate: float) -> int | None:
        """Return after how many seconds there are no more calls a second than ``rate``.

        One second says little: a thirtieth of the window must be that calm on average. ``None``: it
        did not happen while it was watched.
        """
        span = max(1, len(self.seconds) // 30)
        calls = [each.calls for each in self.seconds]
        starts = range(len(calls) - span + 1)
        return next((at for at in starts if sum(calls[at : at + span]) <= rate * span), None)

    def calls_in(self, seconds: int) -> int:
        """Return how many calls there were in the first ``seconds``."""
        return sum(each.calls for each in self.seconds[:seconds])


def simulate(plan: Plan) -> dict[str, Phase]:
    """Return what happens in each phase, by its name."""
    dice = Random(plan.seed)
    cold = Fleet(plan, dice)
    phases = {COLD: _watched(cold, plan)}
    fleet = _settled(plan, dice)
    phases[STEADY] = _watched(fleet, plan)
    fleet.invalidate_all()
    phases[INVALIDATED] = _watched(fleet, plan)
    phases[WARMED] = _watched(_settled(plan, dice), plan, warm_rate=plan.warm_rate)
    return phases


def _settled(plan: Plan, dice: Random) -> Fleet:
    fleet = Fleet(plan, dice)
    fleet.fill()
    fleet.run(round(_SETTLING * plan.near_ttl) + 1)
    return fleet


def _watched(fleet: Fleet, plan: Plan, *, warm_rate: float = 0.0) -> Phase:
    seconds = fleet.run(plan.window, warm_rate=warm_rate)
    return Phase(seconds, fleet.entries)
