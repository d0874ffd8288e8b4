"""Ask the Config Service for one document, once for all its callers, and store the answer."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.cache.entry import Entry, Rejected, read_document
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
    forget_locals,
)
from instance_lookup.fetching.deletions import Fate
from instance_lookup.fetching.reasons import EVERYTHING_GONE, meaning_of
from instance_lookup.fetching.refusals import Refused
from instance_lookup.resilience.expiring import Expiring
from instance_lookup.signals import instance_rejected
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.cache.shared import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.fetching.service_health import ServiceHealth
    from instance_lookup.resilience.deadline import Deadline

D = TypeVar("D", bound=Struct)

Fetch = Callable[[str, Query], Document | NotModified]

RETRY_AFTER = 30.0
"""Seconds after which a client may ask again, where the service says nothing."""
_LONGEST_RETRY_AFTER = 60.0
_ALWAYS = -1
"""Rests for the whole of RETRY_INTERVAL, even if the service sends a document meanwhile."""


class Found(Struct, Generic[D], frozen=True):
    """A document, not yet authorized."""

    document: D
    source: Source
    cached_at: float
    ttl_remaining: float
    ahead: tuple[Callable[[], None], ...] = ()
    """What to fetch in the background, once the caller turned out to be allowed it."""


class Outcome(Struct, Generic[D], frozen=True):
    """What came of a fetch: a value, since many wait for it and an error has one traceback."""

    found: Found[D] | None = None
    error: InstanceLookupError | None = None
    """Neither: another process is fetching, or takes longer than a caller with a copy waits."""
    by: tuple[bool, str | None] | None = None
    """Who asked, where the answer is this one user's."""


class Asker(Struct, frozen=True):
    """In whose name the Config Service is asked."""

    identity: tuple[bool, str | None]
    user_id: str | None
    request_id: str
    limited: bool = False
    """Whether the asker's miss budget may refuse the call."""


class Fetcher(Generic[D]):
    """Fetches documents of one kind. Its methods block, and raise nothing."""

    def __init__(
        self, cache: TieredCache[D], fetch: Fetch, settings: Settings, service_health: ServiceHealth
    ) -> None:
        """Ask by ``fetch``, a method of the backend, and store answers in ``cache``.

        ``service_health`` is shared by the fetchers of one resolver.
        """
        self.kind = cache.kind
        self._cache = cache
        self._fetch = fetch
        self._settings = settings
        self.service_health = service_health
        self._resting: Expiring[int] = Expiring(settings.retry_interval)

    def key(self, asked: str, reading: Reading[D]) -> tuple[object, ...]:
        """Return what must be the same for two callers to share a fetch.

        After an invalidation there is another generation, or, where the cache was not
        asked, another number of the last change.
        """
        return asked, reading.generation, reading.since

    def rests(self, asked: str, reading: Reading[D]) -> bool:
        """Tell whether to ask nothing now, since the last call failed a moment ago."""
        until = self._resting.get(self.key(asked, reading))
        return (
            until in {_ALWAYS, self.service_health.deletions.documents}
            or self.service_health.breaker.wait() > 0
        )

    def fetch(  # noqa: PLR0911  # one return for each kind of answer
        self, asked: str, reading: Reading[D], asker: Asker, deadline: Deadline
    ) -> Outcome[D]:
        """Ask once, unless the circuit breaker is open, and store the answer.

        ``asked`` is the id, ``reading`` what the cache held before the call (the answer is stored
        under its generation), ``asker`` the user that it is asked for, ``deadline`` the
        end of the call.
        """
        service_health = self.service_health
        # A value for each way it can end: many callers wait for it, and each raises its own error.
        if not deadline.remaining():  # waited too long for a worker
            return Outcome(error=self.unavailable(asked, "timeout"))
        if not service_health.breaker.enter():
            wait = service_health.breaker.wait()
            return Outcome(error=self.unavailable(asked, "circuit_open", retry_after=wait))
        held, drops = _held(reading), service_health.deletions.drops
        etag = held.etag if held else None
        query = Query(deadline, asker.request_id, asker.user_id, etag)
        asked_at, answer = time(), None
        try:
            answer = self._fetch(asked, query)
            body, document = self._accept(asked, answer, held)
        except InvalidContext as exc:  # an id that the pattern lets pass, and no URL can hold
            return Outcome(error=exc)
        except InstanceNotFound as exc:
            return self._missing(asked, reading, asked_at, exc)
        except AccessDenied as exc:
            service_health.service_is_up()
            return Outcome(error=Refused(str(exc)), by=asker.identity)
        except BaseException as exc:  # noqa: BLE001  # of any backend
            status = answer.status if isinstance(answer, Document) else None
            return Outcome(error=self._failure(asked, reading, exc, status))
        service_health.document_received(self._part(asked), drops)
        self._resting.drop(self.key(asked, reading))
        ttl, etag = self._settings.cache_ttl, _etag(answer, held)
        self._cache.store(asked, body, reading, cached_at=asked_at, ttl=ttl, etag=etag)
        remaining = max(0.0, min(ttl, asked_at + ttl - time()))
        return Outcome(Found(document, Source.SERVICE, asked_at, remaining))

    def overdue(self) -> None:
        """Note a call that a backend did not end by its deadline."""
        self.service_health.service_overran()

    def unavailable(
        self, asked: str, reason: str, *, retry_after: float | None = None, **details: object
    ) -> ConfigServiceUnavailable:
        """Return the error for "no usable answer" about the id ``asked``.

        ``reason`` is a key of ``reasons``, or a backend's own; ``retry_after`` is in seconds
        (``None``: ``RETRY_AFTER``). ``details`` go into the error.
        """
        return ConfigServiceUnavailable(
            f"The configuration of {self.kind.name} {asked!r} is not available at the moment.",
            retry_after=RETRY_AFTER if retry_after is None else retry_after,
            **{**details, "reason": reason, f"{self.kind.name}_id": asked},
        )

    def _accept(
        self, asked: str, answer: Document | NotModified, held: Entry[D] | None
    ) -> tuple[bytes, D]:
        """Return the document, as written and as read. Raise ``Rejected``."""
        if isinstance(answer, Document):
            accepted = read_document(self.kind, asked, answer.body)
            self.service_health.omissions.note(self._part(asked), accepted.left_out)
            return accepted.body, accepted.document
        if held is None or held.document is None:
            raise Rejected("answered 'not modified', but no copy is held")
        return held.body, held.document

    def _missing(
        self, asked: str, reading: Reading[D], asked_at: float, exc: InstanceNotFound
    ) -> Outcome[D]:
        """Return "not found" and forget the copy, if any; keep it if too many are gone."""
        service_health, about = self.service_health, self._part(asked)
        service_health.service_is_up()
        if (held := _held(reading)) is not None:
            fate = service_health.deletions.decide(about, held.cached_at)
            if fate is Fate.KEEP:
                gone = ConfigServiceUnavailable(
                    service_health.everything_gone(about, str(exc)), reason=EVERYTHING_GONE
                )
                return Outcome(error=self._failure(asked, reading, gone))
            if fate is Fate.DROP:
                service_health.copy_dropped(about, str(exc))
        # Earlier 404s may have made the service doubtful: then one is believed, and drops nothing.
        self._cache.store_missing(
            asked, reading, asked_at=asked_at, is_doubtful=service_health.deletions.is_in_doubt
        )
        return Outcome(error=InstanceNotFound(str(exc)))

    def _failure(
        self, asked: str, reading: Reading[D], exc: BaseException, status: int | None = None
    ) -> ConfigServiceUnavailable:
        """Log what went wrong, if it is news, and return the error for it."""
        forget_locals(exc)  # a backend's frames, and those of a CONFIG_CLASS, hold documents
        service_health = self.service_health
        details, retry_after = {}, None
        if isinstance(exc, ConfigServiceUnavailable):
            details, retry_after = exc.details, exc.retry_after
        if retry_after is not None:  # backends need not bound it themselves
            retry_after = min(retry_after, _LONGEST_RETRY_AFTER)
        rejected = isinstance(exc, Rejected)
        reason = "rejected" if rejected else details.get("reason", type(exc).__name__)
        if reason == "rejected":
            service_health.count("rejected")
            instance_rejected.send_robust(type(self), instance_id=asked, reason=str(exc))
        until_document = meaning_of(reason).is_until_a_document
        until = service_health.deletions.documents if until_document else _ALWAYS
        self._resting.put(self.key(asked, reading), until)
        bug = None if rejected or isinstance(exc, ConfigServiceUnavailable) else exc
        said = f"{type(exc).__name__}: {exc}" if bug else str(exc)
        said += f" ({status})" if status else ""
        service_health.service_failed(
            reason, self._part(asked), said, retry_after=retry_after, bug=bug
        )
        more = {key: value for key, value in details.items() if key != "reason"}
        error = self.unavailable(asked, reason, retry_after=retry_after, **more)
        error.__cause__ = exc
        return error

    def _part(self, asked: str) -> str:
        """Return what one document is called."""
        return f"{self.kind.name} {asked!r}"


def _held(reading: Reading[D]) -> Entry[D] | None:
    """Return the copy that could be served, fresh or stale; "does not exist" is none."""
    return reading.entry if reading.entry and reading.entry.document is not None else None


def _etag(answer: Document | NotModified, held: Entry[Any] | None) -> str | None:
    etag = answer.etag if isinstance(answer, Document) else held.etag if held else None
    # What no header can hold could neither be sent back nor, perhaps, stored.
    return etag if etag and etag.isascii() and etag.isprintable() else None
