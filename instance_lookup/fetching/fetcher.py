"""Ask the Config Service for one document, once for all its callers, and store the answer."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.cache.entry import Entry, OtherSpelling, Rejected, read_document
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
    forget_locals,
)
from instance_lookup.fetching.calls import Call, reason_of
from instance_lookup.fetching.deletions import Fate
from instance_lookup.fetching.reasons import EVERYTHING_GONE, meaning_of
from instance_lookup.fetching.refusals import Refused
from instance_lookup.resilience.backoff import Backoff
from instance_lookup.signals import instance_rejected
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.fetching.service_health import ServiceHealth
    from instance_lookup.resilience.deadline import Deadline

D = TypeVar("D", bound=Struct)

Fetch = Callable[[str, Query], Document | NotModified]

RETRY_AFTER = 30.0
"""Seconds after which a client may ask again, where the service says nothing."""
_LONGEST_RETRY_AFTER = 60.0
_FAIR = 0.5
"""Share of CONFIG_SERVICE_TIMEOUT that a call must start with, if its timeout is to count."""
_SOON = 1.0
"""Seconds after which a process that is too busy may be asked again."""


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
    """Who asked, where the answer is this one user's: other users ask for themselves."""


class Asker(Struct, frozen=True):
    """In whose name the Config Service is asked."""

    identity: tuple[bool, str | None]
    user_id: str | None
    request_id: str
    limited: bool = False
    """Whether the asker's miss budget may refuse the call."""
    guesses: bool = False
    """Whether nothing may show that others have asked for the same (``CONCEAL_DENIED``)."""


class Fetcher(Generic[D]):
    """Fetches documents of one kind. Its methods block, and raise nothing."""

    def __init__(
        self, cache: TieredCache[D], fetch: Fetch, settings: Settings, service_health: ServiceHealth
    ) -> None:
        """Ask by ``fetch``, a method of the backend, and store in ``cache``, as ``settings`` say.

        ``service_health`` is shared by the fetchers of one resolver.
        """
        self.kind = cache.kind
        self._cache = cache
        self._fetch = fetch
        self._settings = settings
        self.service_health = service_health
        self._resting = Backoff(
            rest=settings.retry_interval,
            failures=settings.breaker_failures,
            reset=settings.breaker_reset,
        )

    def key(self, asked: str, reading: Reading[D]) -> tuple[str, object, object]:
        """Return what must be the same for two callers to share a fetch.

        After an invalidation there is another generation, or, where the cache was not
        asked, another number of the last change.
        """
        return asked, reading.generation, reading.since

    def rests(self, asked: str, reading: Reading[D], asker: Asker | None = None) -> bool:
        """Tell whether ``asker`` (``None``: any) leaves ``asked`` alone, of which there is a copy.

        ``reading`` is what the cache holds of that id.
        """
        return self.service_health.breaker.wait() > 0 or any(
            map(self._resting.rests, self._failing(asked, reading, asker))
        )

    def pause(self, asked: str, reading: Reading[D], asker: Asker) -> float:
        """Return the seconds that ``asker`` leaves ``asked`` alone, with no copy in ``reading``."""
        if not self._resting.items:
            return 0.0
        return max(map(self._resting.pause, self._failing(asked, reading, asker)))

    def _failing(
        self, asked: str, reading: Reading[D], asker: Asker | None
    ) -> tuple[tuple[object, ...], ...]:
        """Return the names under which failures are noted that concern ``asker``.

        Of the id; of the id until the service sends a document; of the id and the user.
        """
        key = self.key(asked, reading)
        shared = (key,), (key, self.service_health.deletions.documents)
        if asker is None:
            return shared
        own = key, asker.identity
        return (own,) if asker.guesses else (*shared, own)

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
        if not (left := deadline.remaining()):  # it waited too long for a worker
            return Outcome(error=self.full(asked))
        if not service_health.breaker.enter():
            wait = service_health.breaker.wait()
            return Outcome(error=self.unavailable(asked, "circuit_open", retry_after=wait))
        held, drops = _held(reading), service_health.deletions.drops
        query = Query(deadline, asker.request_id, asker.user_id, held.etag if held else None)
        asked_at, call = time(), Call(self.kind.name, asked, query)
        try:
            with call:
                call.answer = self._fetch(asked, query)
                body, document = self._accept(asked, call.answer, held)
        except InvalidContext as exc:  # an id that the pattern lets pass, and no URL can hold
            return Outcome(error=exc)
        except (InstanceNotFound, OtherSpelling) as exc:
            # A service that ignores case would give one document under any number of names, and
            # each would be an entry with a generation of its own.
            return self._missing(asked, reading, asker, asked_at, exc)
        except AccessDenied as exc:
            service_health.service_is_up()
            return Outcome(error=Refused(str(exc)), by=asker.identity)
        except BaseException as exc:  # noqa: BLE001  # of any backend
            # Our own queue took the time that the service would have had.
            if left < _FAIR * self._settings.config_service_timeout and not deadline.remaining():
                return Outcome(error=self.full(asked))
            return self._failure(asked, reading, asker, exc, call.status)
        if self._resting.items:
            for name in self._failing(asked, reading, asker):
                self._resting.drop(name)
        service_health.document_received(self._part(asked), drops)
        ttl, etag = self._settings.cache_ttl, _etag(call.answer, held)
        self._cache.store(asked, body, reading, cached_at=asked_at, ttl=ttl, etag=etag)
        remaining = max(0.0, min(ttl, asked_at + ttl - time()))
        return Outcome(Found(document, Source.SERVICE, asked_at, remaining))

    def overdue(self, key: tuple[str, object, object]) -> None:
        """Note a call, by its :meth:`key`, that a backend did not end by its deadline."""
        self._resting.failed((key,))
        self.service_health.service_overran(self._part(key[0]))

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

    def full(self, asked: str) -> ConfigServiceUnavailable:
        """Return the error for a call that this process has no room for: no fault of others."""
        return self.unavailable(asked, "full", retry_after=_SOON)

    def _accept(
        self, asked: str, answer: Document | NotModified, held: Entry[D] | None
    ) -> tuple[bytes, D]:
        """Return the document, as written and as read. Raise ``Rejected``."""
        if isinstance(answer, Document):
            accepted = read_document(self.kind, asked, answer.body)
            self.service_health.left_out(self._part(asked), accepted.left_out)
            return accepted.body, accepted.document
        if held is None or held.document is None:
            raise Rejected("answered 'not modified', but no copy is held")
        return held.body, held.document

    def _missing(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        asked_at: float,
        exc: InstanceNotFound | OtherSpelling,
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
                return self._failure(asked, reading, asker, gone)
            if fate is Fate.DROP:
                service_health.copy_dropped(about, str(exc))
        # Earlier 404s may have made the service doubtful: then one is believed, and drops nothing.
        self._cache.store_missing(
            asked, reading, asked_at=asked_at, is_doubtful=service_health.deletions.is_in_doubt
        )
        return Outcome(error=InstanceNotFound(str(exc)))

    def _failure(
        self,
        asked: str,
        reading: Reading[D],
        asker: Asker,
        exc: BaseException,
        status: int | None = None,
    ) -> Outcome[D]:
        """Log what went wrong, if it is news, and return the error for it."""
        forget_locals(exc)  # a backend's frames, and those of a CONFIG_CLASS, hold documents
        service_health = self.service_health
        details, retry_after = {}, None
        if isinstance(exc, ConfigServiceUnavailable):
            details, retry_after = exc.details, exc.retry_after
        if retry_after is not None:  # backends need not bound it themselves
            retry_after = min(retry_after, _LONGEST_RETRY_AFTER)
        rejected = isinstance(exc, Rejected)
        reason = "rejected" if rejected else reason_of(exc)
        if reason == "rejected":
            service_health.rejected("document")
            instance_rejected.send_robust(type(self), instance_id=asked, reason=str(exc))
        meaning = meaning_of(reason)
        name: tuple[object, ...] = (self.key(asked, reading),)
        if meaning.is_of_one_user or asker.guesses:
            name += (asker.identity,)
        elif meaning.is_until_a_document:
            name += (service_health.deletions.documents,)
        # Of what does not exist there is no copy to keep: a guess does not find out that way.
        if not (asker.guesses and reason == EVERYTHING_GONE):
            self._resting.failed(name, at_least=retry_after or 0.0)
        bug = None if rejected or isinstance(exc, ConfigServiceUnavailable) else exc
        said = f"{type(exc).__name__}: {exc}" if bug else str(exc)
        said += f" ({status})" if status else ""
        service_health.service_failed(
            reason, self._part(asked), said, retry_after=retry_after, bug=bug
        )
        more = {key: value for key, value in details.items() if key != "reason"}
        error = self.unavailable(asked, reason, retry_after=retry_after, **more)
        error.__cause__ = exc
        return Outcome(error=error, by=asker.identity if meaning.is_of_one_user else None)

    def _part(self, asked: str) -> str:
        return f"{self.kind.name} {asked!r}"


def _held(reading: Reading[D]) -> Entry[D] | None:
    """Return the copy that could be served, fresh or stale; "does not exist" is none."""
    return reading.entry if reading.entry and reading.entry.document is not None else None


def _etag(answer: Document | NotModified | None, held: Entry[Any] | None) -> str | None:
    etag = answer.etag if isinstance(answer, Document) else held.etag if held else None
    # What no header can hold could neither be sent back nor, perhaps, stored.
    return etag if etag and etag.isascii() and etag.isprintable() else None
