"""Bytes of a ``text/event-stream`` to events, as the HTML standard has it (section 9.2.6).

Ours, in a hundred lines, because of what it must not do: hold a line or an event without end, hide
the comments that show that the other side is there, or bring a second HTTP client, whose proxy,
certificates and credentials would have to be set up again.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 65_536
"""Bytes of one line, and of the data of one event."""
_ENDLESS = 16 * LIMIT
"""Bytes that may be dropped of one event before it counts as one without end."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
ID = re.compile(rb"[!-~]{1,200}")
"""An id goes back in a header, and into the cache."""
_DIGITS = re.compile(rb"[0-9]{1,9}")


class Event(Struct, frozen=True):
    """What stood between two blank lines."""

    data: bytes
    """Its lines of data; empty: only an id. Also empty where it ``is_too_long``."""
    name: str = "message"
    id: str | None = None
    """Where to go on after it. ``""``: the service wants the last one forgotten, ``None``: it has
    none, or one that no header could carry."""
    is_too_long: bool = False


class Endless(ValueError):
    """An event, or a line, goes on and on."""


class Parser:
    """Takes bytes as they come, cut anywhere, and keeps ``LIMIT`` of a line and of an event."""

    _data: list[bytes]
    _size: int
    """Bytes of data, with the ends of their lines."""
    _name: str
    _id: str | None
    _is_too_long: bool
    _dropped: int
    """Bytes of this event that were not kept."""

    def __init__(self) -> None:
        self.lines = 0
        """Complete lines so far, of any kind."""
        self.retry: float | None = None
        """Seconds that the service wants clients to wait before they reconnect."""
        self._is_first = True
        self._after_cr = False
        self._line = bytearray()
        self._is_cut = False
        """Whether the line went on after what is kept of it."""
        self._start_event()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that ``chunk`` completes. Raises :class:`Endless`."""
        if not chunk:
            return
        if self._after_cr:  # the second half of a line end that was cut in two
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for part in ended:
            self._append(part)
            if (event := self._end_line()) is not None:
                yield event
        self._append(rest)

    def _append(self, part: bytes) -> None:
        room = LIMIT - len(self._line)
        self._line += part[:room]
        if len(part) > room:
            self._drop(len(part) - room)
            self._is_cut = True

    def _end_line(self) -> Event | None:
        line, is_cut = bytes(self._line), self._is_cut
        self._line.clear()
        self._is_cut = False
        self.lines += 1
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(BOM_UTF8)
        if not line:
            return self._end_event()
        name, _, value = line.partition(b":")
        if is_cut:
            self._is_too_long = self._is_too_long or name == b"data"
        else:
            self._take(name, value.removeprefix(b" "))
        return None

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > LIMIT:
                dropped = self._size
                self._data, self._size, self._is_too_long = [], 0, True
                self._drop(dropped)
        elif name == b"event":
            self._name = value.decode(errors="replace")
        elif name == b"id" and (not value or ID.fullmatch(value)):
            self._id = value.decode()
        elif name == b"retry" and _DIGITS.fullmatch(value):
            self.retry = int(value) / 1000

    def _end_event(self) -> Event | None:
        data = b"" if self._is_too_long else b"\n".join(self._data)
        event = Event(data, self._name or "message", self._id, self._is_too_long)
        self._start_event()
        return event if data or event.id is not None or event.is_too_long else None

    def _start_event(self) -> None:
        self._data, self._size, self._is_too_long = [], 0, False
        self._name, self._id = "", None
        self._dropped = 0

    def _drop(self, count: int) -> None:
        self._dropped += count
        if self._dropped > _ENDLESS:
            raise Endless(f"more than {_ENDLESS} bytes without the end of an event")
