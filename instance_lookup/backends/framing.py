"""Where the answer to one request begins and ends on a connection."""

from __future__ import annotations

from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from io import BufferedReader

_INTERIM_BYTES = 65_536


class _NotesSurplus(Protocol):
    """The socket of a connection that is not used again after surplus bytes."""

    def note_surplus(self, reader: BufferedReader) -> None: ...


class FinalResponse(HTTPResponse):
    """A response that skips interim ones (1xx), and notices surplus bytes after its end."""

    fp: BufferedReader

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock: _NotesSurplus = sock

    def _read_status(self) -> tuple[str, int, str]:
        # http.client passes over 100 only, and any number of those (RFC 9110, section 15.2).
        room = _INTERIM_BYTES
        while room > 0:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == 101:
                return version, status, reason
            room -= len("HTTP/1.1 103 ") + len(reason)
            while room > 0 and (header := self.fp.readline(room)).strip():
                room -= len(header)
        raise HTTPException("interim responses without end")

    def _read_next_chunk_size(self) -> int:
        # http.client takes "-1" for a size, and then reads all there is, past every limit.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            self._close_conn()
            raise HTTPException("a chunk of negative size")
        return size

    def _close_conn(self) -> None:
        self._sock.note_surplus(self.fp)  # its buffer is the only trace of what came behind
        super()._close_conn()  # type: ignore[misc]
