"""Inspections on a terminal: a table of at most 100 columns."""

from __future__ import annotations

from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from instance_lookup.inspection import Inspection

_WIDTH = 100
_LONGEST_ID = 40
"""Beside a longer id the columns of ``_HEAD``, at their widest, would take more than ``_WIDTH``."""

_HEAD = ("INSTANCE", "STATE", "AGE", "TTL LEFT", "PURGED IN", "BYTES")
_NOTHING = "-"
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def table(found: Sequence[Inspection], *, detailed: bool) -> tuple[str, list[list[str]]]:
    """Return the heading, and for each inspection its lines. There must be one at least.

    Owner, API keys and where the id is from are columns if every line has room for them. Else they
    stand below, and a long id has a line of its own. With ``detailed`` the generation follows.
    """
    details = [_details(one) for one in found]
    cells = [(*_cells(one), *more.values()) for one, more in zip(found, details, strict=True)]
    head, *rows = _aligned([(*_HEAD, *map(str.upper, details[0])), *cells])
    blocks = [[row] for row in rows]
    if max(map(len, [head, *rows])) > _WIDTH:
        head, blocks = _narrow(found, details)
    for block, one in zip(blocks, found, strict=True):
        if one.note:
            block.append(f"    ({one.note})")
        if detailed and one.generation:
            block.append(f"    generation {one.generation}")
    return head, blocks


def duration(seconds: float) -> str:
    """Return a time in its two largest units, such as ``59 min 56 s``."""
    whole = round(seconds)
    for (unit, size), (smaller, part) in pairwise(_UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            rest //= part
            return f"{count} {unit} {rest} {smaller}" if rest else f"{count} {unit}"
    return f"{whole} s"


def _narrow(
    found: Sequence[Inspection], details: Sequence[Mapping[str, str]]
) -> tuple[str, list[list[str]]]:
    cells = [_cells(one) for one in found]
    shown = [((name if len(name) <= _LONGEST_ID else ""), *rest) for name, *rest in cells]
    head, *rows = _aligned([_HEAD, *shown])
    blocks = []
    for (name, *_), row, more in zip(cells, rows, details, strict=True):
        own_line = [name] if len(name) > _LONGEST_ID else []
        text = "; ".join(f"{what} {told}" for what, told in more.items() if told != _NOTHING)
        below = wrap(
            text,
            _WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,  # so that they can be copied
            break_on_hyphens=False,
        )
        blocks.append([*own_line, row, *below])
    return head, blocks


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _cells(one: Inspection) -> tuple[str, ...]:
    ages = (one.age, one.ttl_left, one.purged_in)
    return (
        printable(one.instance_id),
        one.state,
        *(_NOTHING if age is None else duration(age) for age in ages),
        _NOTHING if one.size is None else str(one.size),
    )


def _details(one: Inspection) -> dict[str, str]:
    return {
        "owner": printable(one.owner or _NOTHING),
        "API keys": printable(", ".join(one.api_keys) or _NOTHING),
        "ID from": one.id_from,
    }
