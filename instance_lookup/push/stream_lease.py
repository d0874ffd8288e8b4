"""Which process of all that share a cache listens to the stream, and where it got to."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from instance_lookup.cache.keys import as_token, new_token
from instance_lookup.push.stream_parser import ID

if TYPE_CHECKING:
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.push.changes import Change

LIFE = 10.0
"""Seconds after which the lease of a process that does not renew it is another's to take."""
RENEW = 3.0
"""Seconds between two renewals, and about so many between two looks of the others."""
_REMEMBERED = 7 * 86_400
"""Seconds for which a place in the stream is kept: no service can go back for longer."""


class Lease:
    """A key in the cache that names the process which listens. Used by one thread.

    ``is_held`` may be read by others: the answer is of this process's clock, so one that stood
    still knows that it has lost the lease before it hears of it.
    """

    def __init__(self, cache: KeyValue, stream: str) -> None:
        """Compete in ``cache`` for the ``stream``, a URL."""
        self._cache = cache
        self._key = f"instance_stream_lease:{_digest(stream)}"
        self._token = new_token()
        self._until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether no other process can have it."""
        return monotonic() < self._until

    def hold(self) -> bool:
        """Take the lease, or renew it, and tell whether it is held.

        A cache that fails takes it from no process before its time: none can take it then.
        """
        began = monotonic()  # not afterwards: the cache may have counted from any moment since
        try:
            is_ours = self._take()
        except Exception:  # noqa: BLE001  # whatever the backend raises
            return self.is_held
        self._until = began + LIFE if is_ours else 0.0
        return is_ours

    def release(self) -> None:
        """Give the lease back, if it is ours, so that another process need not wait for its end."""
        self._until = 0.0
        with suppress(Exception):  # whatever the backend raises: it ends by itself
            # Between the two it may run out and be taken: then two processes listen, until the
            # other one renews and finds none. What both hear has the same effect twice.
            if as_token(self._cache.get(self._key)) == self._token:
                self._cache.delete(self._key)

    def _take(self) -> bool:
        holder = self._cache.get(self._key)
        if holder is None:
            # One step on the server: of processes that come together one gets it. ``None``: it may
            # be ours, which the next look finds out.
            return self._cache.add(self._key, self._token, ceil(LIFE)) is True
        if as_token(holder) != self._token:
            return False
        self._cache.touch(self._key, ceil(LIFE))
        return True


class _Place(Struct):
    id: str


class Bookmark:
    """The id of the last event that took effect, for the process that listens next."""

    def __init__(self, cache: KeyValue, stream: str) -> None:
        """Keep it in ``cache``, for the ``stream``, a URL: ids of another one mean nothing."""
        self._cache = cache
        self._key = f"instance_stream_id:{_digest(stream)}"
        self._known: str | None = None
        self.owed: Change | None = None
        """What was heard and the cache has not taken: a service may not send it again."""

    def read(self) -> str | None:
        """Return it, from the cache, else what this process knows; ``None``: none is known."""
        with suppress(Exception):  # whatever the backend raises, or nonsense
            found = self._cache.get(self._key)
            if found is not None:
                place = msgspec.json.decode(found, type=_Place).id
                # What others write there does not get into a header.
                if not place or ID.fullmatch(place.encode()):
                    self._known = place or None
        return self._known

    def write(self, event_id: str) -> None:
        """Note an event that took effect; ``""``: none. Where it fails, some are heard twice."""
        self._known = event_id or None
        place = msgspec.json.encode(_Place(event_id)).decode()
        with suppress(Exception):  # whatever the backend raises
            self._cache.set(self._key, place, _REMEMBERED)


def _digest(stream: str) -> str:
    return sha256(stream.encode(errors="surrogatepass")).hexdigest()[:16]
