from __future__ import annotations

from typing import Any

import pytest

from instance_lookup.inspection import IdFrom, Inspection, State
from instance_lookup.management.table import duration, table


def inspection(instance_id: str = "acme", **fields: Any) -> Inspection:
    """Return what is told of a stale copy, at its widest."""
    widest: dict[str, Any] = {
        "state": State.UNREADABLE,
        "age": 3599.0,
        "ttl_left": 86_399.0,
        "purged_in": 3599.0,
        "size": 1_048_576,
        "owner": "u1",
        "api_keys": ("ideogram", "openai"),
        "generation": "g" * 53,
    }
    return Inspection(instance_id=instance_id, **widest | fields)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (4.2, "4 s"),
        (59.7, "1 min"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3596, "59 min 56 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (3720, "1 h 2 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
        (-3.2, "-3 s"),
    ],
)
def test_duration_is_for_people(seconds: float, shown: str) -> None:
    """Two units are enough; an entry from the future shows that a clock is wrong."""
    assert duration(seconds) == shown


def test_table_has_columns_for_everything_where_they_fit() -> None:
    """Each instance has one line where all columns fit."""
    head, blocks = table([inspection(state=State.STALE, ttl_left=0.0)], detailed=False)
    assert head.split("  ")[-1] == "ID FROM"
    assert [len(lines) for lines in blocks] == [1]


@pytest.mark.parametrize("length", [4, 36, 40, 41, 64])
def test_table_fits_100_columns(length: int) -> None:
    """With each column at its widest and a long id, the table fits and leaves nothing out."""
    keys = tuple(f"provider-{number}" for number in range(20))
    found = [inspection("x" * length, owner="7c9e6679-7425-40de-944b-e07fc1f90ae7", api_keys=keys)]
    head, (lines,) = table(found, detailed=True)
    assert max(map(len, [head, *lines])) <= 100
    text = " ".join(line.strip() for line in lines)
    assert text.startswith("x" * length + " ")
    assert f"owner 7c9e6679-7425-40de-944b-e07fc1f90ae7; API keys {', '.join(keys)}" in text
    assert "; ID from argument" in text
    assert f"generation {'g' * 53}" in text


def test_table_keeps_a_long_word_whole() -> None:
    """A long word is never cut, even where it is wider than the table, so it can be copied."""
    _, (lines,) = table([inspection(owner="o" * 200)], detailed=False)
    assert "    " + "o" * 200 + ";" in [line[:205] for line in lines]


def test_table_leaves_out_what_there_is_not() -> None:
    """Below the line of an absent instance stands only where its id is from."""
    absent = Inspection(instance_id="hooli", state=State.ABSENT, id_from=IdFrom.CACHE)
    _, blocks = table([inspection("x" * 64), absent], detailed=True)
    assert blocks[1][1:] == ["    ID from cache"]


def test_table_notes_stand_below() -> None:
    """A note does not push the columns apart."""
    absent = Inspection(instance_id="hooli", state=State.ABSENT, note="it is too old")
    _, (lines,) = table([absent], detailed=False)
    assert lines[1] == "    (it is too old)"
