from __future__ import annotations

from codecs import BOM_UTF8
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_lookup.push.stream_parser import LIMIT, Endless, Event, Parser


def parsed(*chunks: bytes) -> list[Event]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends(end: bytes) -> None:
    """A line ends with CR, LF or both (HTML, 9.2.5)."""
    wire = b"id: 7\ndata: one\ndata:two\ndata\n\n: comment\nid: 8\ndata: x\n\n"
    wire = wire.replace(b"\n", end)
    expected = [Event(b"one\ntwo\n", id="7"), Event(b"x", id="8")]
    # A last CR may be half of a line end, which is no reason to wait.
    assert parsed(wire) == expected


@given(cuts=st.lists(st.integers(0, 60)), end=st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_cut_anywhere(cuts: list[int], end: bytes) -> None:
    """An event may come in any number of pieces."""
    wire = BOM_UTF8 + "id: 7\nretry: 50\ndata: {\ndata: é}\n\ndata: 2\n\n".encode()
    wire = wire.replace(b"\n", end)
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[one:other] for one, other in pairwise(places)]
    assert parsed(*pieces) == parsed(wire) == [Event("{\né}".encode(), id="7"), Event(b"2")]


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b": heartbeat\n\n", []),
        (b"\n\n\n", []),
        (b"event: ping\n\n", []),
        (b"event: ping\ndata: x\n\n", [Event(b"x", name="ping")]),
        (b"event:\ndata: x\n\n", [Event(b"x")]),
        (b"data:  x\n\n", [Event(b" x")]),
        (b"data: a:b\n\n", [Event(b"a:b")]),
        (b"data\n\n", []),
        (b"unknown: 1\ndata: x\nDATA: y\n\n", [Event(b"x")]),
        (b"id: 9\n\n", [Event(b"", id="9")]),
        (b"id\ndata: x\n\n", [Event(b"x", id="")]),
        (b"id: 1\0\ndata: x\n\n", [Event(b"x")]),
        (b"id: \xc3\xa9\ndata: x\n\n", [Event(b"x")]),
        (b"id: " + b"1" * 201 + b"\ndata: x\n\n", [Event(b"x")]),
        (b"data: x\n", []),
        (b"event: \xff\ndata: x\n\n", [Event(b"x", name="\ufffd")]),
    ],
)
def test_fields(wire: bytes, expected: list[Event]) -> None:
    """Fields are read as the standard has them; an id that no header carries is none."""
    assert parsed(wire) == expected


@pytest.mark.parametrize(
    ("sent", "seconds"), [("1500", 1.5), ("0", 0.0), ("1.5", None), ("", None)]
)
def test_retry(sent: str, seconds: float | None) -> None:
    """``retry`` is a number of milliseconds; anything else is none."""
    parser = Parser()
    assert not list(parser.feed(f"retry: {sent}\n\n".encode()))
    assert parser.retry == seconds


def test_byte_order_mark_only_first() -> None:
    """One is dropped where the stream begins, and is part of a name anywhere else."""
    assert parsed(BOM_UTF8 + b"data: x\n\n" + BOM_UTF8 + b"data: y\n\n") == [Event(b"x")]


def test_longest() -> None:
    """What has just the longest length is taken."""
    data = b"x" * (LIMIT - len("data:"))
    assert parsed(b"data:" + data + b"\n\n") == [Event(data)]


@pytest.mark.parametrize(
    "data",
    [
        b"data:" + b"x" * LIMIT,
        b"\n".join([b"data:" + b"x" * 1000] * 70),
        b"data\n" * LIMIT + b"data",
    ],
    ids=["one line", "many lines", "empty lines"],
)
def test_too_long(data: bytes) -> None:
    """An event that is too long is not kept, and the next one is read."""
    wire = data + b"\nid: 5\n\ndata: y\n\n"
    assert parsed(wire) == [Event(b"", id="5", is_too_long=True), Event(b"y")]
    pieces = [wire[start : start + 1000] for start in range(0, len(wire), 1000)]
    assert parsed(*pieces) == parsed(wire)


def test_long_comment() -> None:
    """A comment of any length takes no memory, and nothing away."""
    assert parsed(b":" + b"x" * 2 * LIMIT + b"\ndata: y\n\n") == [Event(b"y")]


@pytest.mark.parametrize("piece", [b"x" * LIMIT, b"data:" + b"x" * (LIMIT // 2) + b"\n"])
def test_endless(piece: bytes) -> None:
    """What goes on and on is given up, and held no longer than it may be."""
    parser, events = Parser(), list[Event]()

    def go_on() -> None:
        while True:
            events.extend(parser.feed(piece))

    events.extend(parser.feed(b"data: x\n\n"))
    with pytest.raises(Endless):
        go_on()
    assert events == [Event(b"x")]
    assert len(parser._line) <= LIMIT
    assert parser._size <= LIMIT


def test_heartbeats_for_ever() -> None:
    """Comments without a blank line are no event without end."""
    parser = Parser()
    for _ in range(40):
        assert not list(parser.feed(b": heartbeat\n" * 10_000))
    assert parser.lines == 400_000
    assert list(parser.feed(b"data: x\n\n")) == [Event(b"x")]
