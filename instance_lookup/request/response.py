"""The headers of a response that follow from the lookups of its request."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.http.response import HttpResponseBase, ResponseHeaders
from django.utils.cache import patch_cache_control, patch_vary_headers
from msgspec import Struct

from instance_lookup.exceptions import RateLimitExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


_TIMINGS = 10
"""Lookups that one response tells of."""


class ResponseState(Struct, eq=False):
    """What the lookups of one request mean for its response.

    A copied request has its own. What happens there counts for the original as well: a view answers
    with what it read from a copy.
    """

    _original: ResponseState | None = None
    touched: bool = False
    """True once the instance was read: the response is for this user alone."""
    failed: bool = False
    """True once a lookup failed: no cache may store an error page."""
    vary_headers: tuple[str, ...] = ()
    """The request headers that decided something so far."""
    timings: tuple[tuple[float, str], ...] = ()
    """Seconds and end of each lookup so far, where ``SERVER_TIMING`` is on."""
    limits: dict[str, tuple[str, str]] = {}
    """What ``RateLimit-Policy`` and ``RateLimit`` say of each limit that the request was counted
    for, by its name."""
    exceeded: RateLimitExceeded | None = None
    """Why DRF was told that the call is one too many, for its exception handler."""
    _response: HttpResponseBase | None = None
    _started: bool = False

    @property
    def is_touched(self) -> bool:
        """Tell whether the instance was read, of the original too: a view may work with both."""
        return self.touched or (self._original is not None and self._original.is_touched)

    def fail(self) -> None:
        """Note that a lookup failed."""
        self.failed = True
        if self._original is not None:
            self._original.fail()

    def time(self, seconds: float, ended: str) -> None:
        """Note what a lookup took, and how it ``ended``."""
        if len(self.timings) < _TIMINGS:
            self.timings += ((seconds, ended),)
        if self._original is not None:
            self._original.time(seconds, ended)

    def limit(self, name: str, policy: str, standing: str) -> None:
        """Note what the response has to say of the limit ``name``, and how the instance stands."""
        self.limits[name] = policy, standing
        if self._original is not None:
            self._original.limit(name, policy, standing)

    @property
    def limit_headers(self) -> dict[str, str]:
        """The headers that tell of the limits, of all in one list each."""
        policies, standings = zip(*self.limits.values(), strict=True)
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(standings)}

    def touch(self, vary_headers: tuple[str, ...] = ()) -> None:
        """Note that the instance is read; a lookup adds the headers that decide which it is.

        Raises ``RuntimeError`` where that comes too late: the response has begun to stream, and its
        headers were sent without ``Vary``.
        """
        if self._original is not None:
            self._original.touch(vary_headers)
        if self.touched and not vary_headers:
            return
        if self._started and not self.touched:
            raise RuntimeError(
                "The response has begun to stream, without the headers Vary and Cache-Control that "
                "keep one tenant's page from another. Read request.instance_config in the view, "
                "before the stream starts."
            )
        self.touched, self.vary_headers = True, vary_headers
        if self._response is not None:  # a middleware outside of ours reads the instance first
            self.finish(self._response)

    def start(self) -> None:
        """Note that the headers are sent: from now on it is too late to touch."""
        self._started = True

    def finish(self, response: HttpResponseBase) -> None:
        """Give a response the headers that it needs so far. May be called again."""
        if not self.touched:
            return
        headers: Any = response.headers
        # Past Django's own "in" and "[]=", which parse and check: these took as long as the lookup.
        stored = headers._store if type(headers) is ResponseHeaders else None  # noqa: SLF001
        present = {name.lower() for name in headers} if stored is None else stored
        if "vary" in present:
            patch_vary_headers(response, self.vary_headers)
        elif self.vary_headers:
            _put(headers, stored, "Vary", self.vary_headers)
        # Vary cannot say that the response depends on the user as well.
        if "cache-control" not in present:
            _put(headers, stored, "Cache-Control", ("private",))
        elif "public" not in headers["Cache-Control"]:
            patch_cache_control(response, private=True)
        if self.limits:
            for name, value in self.limit_headers.items():
                headers[name] = value
        if self.failed and response.status_code >= HTTPStatus.BAD_REQUEST:
            response.headers["Cache-Control"] = "no-store"

    def leave(self, response: HttpResponseBase) -> None:
        """Finish a response that leaves the middleware, and keep watch over it."""
        self._response = response
        if self.timings:
            self._add_timings(response)
        if self.touched:
            self.finish(response)
        elif getattr(response, "streaming", False):
            self._watch(response)

    def _add_timings(self, response: HttpResponseBase) -> None:
        """Add ours to what others, such as a debug toolbar, have timed."""
        ours = [
            f'instance-lookup;dur={seconds * 1000:.2f};desc="{ended}"'
            for seconds, ended in self.timings
        ]
        before = response.headers.get("Server-Timing")
        response.headers["Server-Timing"] = ", ".join([before, *ours] if before else ours)

    def _watch(self, response: Any) -> None:
        """Have a stream note that it starts."""
        if getattr(response, "file_to_stream", None) is not None:
            return  # the server sends the file itself (sendfile); wrapping it would stop that
        content = response.streaming_content
        if response.is_async:
            response.streaming_content = self._anoting_start(content)
        else:
            response.streaming_content = chain(self._noting_start(), content)

    def _noting_start(self) -> Iterator[bytes]:
        self.start()
        yield from ()

    async def _anoting_start(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.start()
        async for part in content:
            yield part


def _put(headers: Any, stored: dict[str, Any] | None, name: str, values: tuple[str, ...]) -> None:
    """Set a header: in what Django's own headers hold, else by the setter of the project's."""
    if stored is None:
        headers[name] = ", ".join(values)
    else:
        stored[name.lower()] = _checked(name, values)


@lru_cache(maxsize=16)
def _checked(name: str, values: tuple[str, ...]) -> tuple[str, str]:
    """Return a header as Django stores it, having had Django check it once."""
    stored: tuple[str, str] = ResponseHeaders({name: ", ".join(values)})._store[name.lower()]  # noqa: SLF001
    return stored
