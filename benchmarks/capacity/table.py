"""What was simulated, as text: a table with a column for each phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.capacity.phases import COLD, INVALIDATED, STEADY
from benchmarks.capacity.sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.capacity.phases import Phase
    from benchmarks.capacity.plan import Plan

_WIDTH = 17


def text(plan: Plan, phases: Mapping[str, Phase]) -> str:
    """Return the whole answer."""
    sizes, each = Sizes(plan), list(phases.values())
    heads = [*_row("", phases), "", "Config Service"]
    lines = [*_about(plan), "", *heads]
    lines += _row("  calls a second", (_number(one.total.calls / plan.window) for one in each))
    lines += _row("  calls in the peak second", (_number(one.peak_calls) for one in each))
    lines += ["", "Requests answered"]
    for label, value in _ANSWERS.items():
        lines += _row(f"  {label}", (_percent(value(one), one.total.requests) for one in each))
    lines += ["", "Redis"]
    for name in each[0].total.by_kind:
        counts = (one.total.by_kind[name] / plan.window for one in each)
        lines += _row(f"  {name} a second", map(_number, counts))
    lines += _row("  PING a second, at most", (_number(sizes.pings) for _ in each))
    means = (one.total.commands / plan.window + sizes.pings for one in each)
    lines += _row("  commands a second", map(_number, means))
    peaks = (one.peak_commands + sizes.pings for one in each)
    lines += _row("  commands in the peak second", map(_number, peaks))
    to_redis = (sizes.sent(one.total, plan.window) / plan.window for one in each)
    from_redis = (sizes.answered(one.total, plan.window) / plan.window for one in each)
    lines += _row("  MB a second, to Redis", (f"{one / 1e6:,.2f}" for one in to_redis))
    lines += _row("  MB a second, from Redis", (f"{one / 1e6:,.2f}" for one in from_redis))
    lines += _row("  entries at the end", (f"{one.entries:,}" for one in each))
    lines += _row("  MB for them", (f"{sizes.memory(one.entries) / 1e6:,.1f}" for one in each))
    return "\n".join([*lines, "", *_costs(plan, phases)])


_ANSWERS: dict[str, Callable[[Phase], int]] = {
    "from memory (near)": lambda phase: phase.total.near,
    "from Redis": lambda phase: phase.total.shared,
    "after a wait for the service": lambda phase: phase.total.waited,
    "with a stale copy": lambda phase: phase.total.stale,
}


def _about(plan: Plan) -> list[str]:
    ahead = "no refresh ahead" if plan.refresh_ahead is None else f"from {plan.refresh_ahead:g} on"
    return [
        f"{plan.instances:,} instances (Zipf {plan.skew:g}), {plan.document:,} bytes each,"
        f" {plan.missing:.2%} of requests for unknown ids",
        f"{plan.rps:,g} requests a second, {plan.processes:,} processes,"
        f" each phase {plan.window:,} s, seed {plan.seed}",
        f"ttl {plan.ttl:g} s ({ahead}), stale until {plan.stale_max_age:g} s,"
        f" near cache {plan.near_ttl:g} s and {plan.near_size:,} entries,"
        f" service {plan.service_time:g} s",
    ]


def _costs(plan: Plan, phases: Mapping[str, Phase]) -> list[str]:
    """Return what it takes until there are no more calls than in the steady state."""
    rate = phases[STEADY].total.calls / plan.window
    lines = ["Until there are no more calls a second than in the steady state"]
    for name in (COLD, INVALIDATED):
        phase = phases[name]
        if (seconds := phase.until(rate)) is None:
            lines.append(f"  {name}: not within {plan.window:,} s; try a longer --window")
            continue
        calls = phase.calls_in(seconds)
        more = max(0.0, calls - rate * seconds)
        spared = sum(each.joined + each.followed for each in phase.seconds[:seconds])
        joined = sum(each.joined for each in phase.seconds[:seconds])
        lines += [
            f"  {name}: {seconds:,} s, {calls:,} calls, {_number(more)} more than usual in that"
            " time",
            f"    single flight and leases spared {spared:,} calls: {joined:,} in the same process,"
            f" {spared - joined:,} by other processes",
        ]
    lasts = plan.instances / plan.warm_rate
    lines += [
        "Instead of an invalidation",
        f"  warm_instance_cache --rate {plan.warm_rate:g}: {plan.instances:,} calls in"
        f" {lasts:,.0f} s, and no request waits for them",
    ]
    return lines


def _row(label: str, values: Iterable[str]) -> list[str]:
    return [f"{label:<32}{''.join(f'{value:>{_WIDTH}}' for value in values)}".rstrip()]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.2f} %"
