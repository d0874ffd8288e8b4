"""An explanation on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.management.table import duration
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.operations.explanation import Ending, Explanation, Layer


def lines(told: Explanation) -> Iterator[str]:
    """Yield the lines of the text, each fit for a terminal."""
    for line in _lines(told):
        yield printable(line)


def _lines(told: Explanation) -> Iterator[str]:
    request = f" (request {told.request_id})" if told.request_id else ""
    yield f"{told.named or 'no instance'} for {told.user}{request}"
    if told.identifiers:
        yield "Identifiers"
        width = max(len(each.name) for each in told.identifiers)
        yield from (f"  {each.name:{width}}  {each.said}" for each in told.identifiers)
    if told.layers:
        yield "Layers"
        width = max(len(each.of) for each in told.layers)
        yield from (f"  {each.of:{width}}  {each.name:7}  {_seen(each)}" for each in told.layers)
    if told.calls:
        yield "To the Config Service, if it is asked"
    for call in told.calls:
        yield f"  {call.to}"
        yield from (f"    {name}: {value}" for name, value in call.headers.items())
    if told.verdict is not None:
        yield "Policy"
        yield from told.verdict.lines("  ")
    yield f"Answer: {_ending(told.ending)}"
    yield from (f"Hint: {hint}" for hint in told.hints)


def _seen(layer: Layer) -> str:
    parts = [layer.state]
    if layer.age is not None:
        parts.append(f"{duration(layer.age)} old")
    if layer.ttl_left:
        parts.append(f"{duration(layer.ttl_left)} left")
    if layer.purged_in is not None:
        parts.append(f"purged in {duration(layer.purged_in)}")
    if layer.note:
        parts.append(layer.note.removesuffix("."))
    if layer.took is not None:
        parts.append(f"took {layer.took * 1000:.1f} ms")
    return ", ".join(parts)


def _ending(ending: Ending) -> str:
    status = "unknown" if ending.status is None else str(ending.status)
    if ending.otherwise is not None:
        status = f"{status}, {ending.otherwise} where the service fails"
    words = [status, ending.error or "", ending.source or ""]
    return f"{' '.join(filter(None, words))}: {ending.message}"
