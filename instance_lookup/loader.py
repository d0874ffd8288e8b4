"""From the cache, else from the Config Service, else the stale copy: one document of one kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.context import LookupContext, fresh_request_id
from instance_lookup.entry import Entry, Freshness, Rejected, read_document
from instance_lookup.exceptions import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InvalidContext,
)
from instance_lookup.frozen import SecretBytes
from instance_lookup.refusals import Refusals
from instance_lookup.signals import instance_rejected
from instance_lookup.store import EntryStore, Reading
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.counters import Counters
    from instance_lookup.deadline import Deadline
    from instance_lookup.health import Health

D = TypeVar("D", bound=Struct)

Fetch = Callable[[str, Query], Document | NotModified]

RETRY_AFTER = 30.0
"""Seconds after which a client may ask again, where the Config Service did not say."""
_OUR_FAULT = frozenset({"credential", "client_error"})
"""Failures that do not pass by themselves."""
_OF_ONE_DOCUMENT = frozenset({"rejected", "client_error"})
"""Failures that say nothing about the next document."""
_WRITING = "writing"
"""The part of a cache's health that a full or read-only server loses alone."""


class Refused(AccessDenied):
    """The Config Service itself said that this user may not. ``copy`` is what the cache held."""

    def __init__(self, message: str, *, copy: Struct | None = None, **details: str) -> None:
        super().__init__(message, **details)
        self.copy = copy


class Found(Struct, Generic[D], frozen=True):
    """A document, not yet authorized."""

    document: D
    source: Source
    cached_at: float
    ttl_remaining: float


class Loader(Generic[D]):
    """Loads the documents of one kind: what section by section the cache and the service allow."""

    def __init__(
        self,
        store: EntryStore[D],
        fetch: Fetch,
        settings: Settings,
        *,
        counters: Counters,
        service: Health,
        cache: Health,
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._settings = settings
        self._count = counters.add
        self._service = service
        self._cache = cache
        self._refusals = Refusals(settings.negative_ttl)

    def load(self, asked: str, context: LookupContext, deadline: Deadline) -> Found[D]:
        """Return the document of an id.

        Raises ``InstanceNotFound``, ``Refused`` or ``ConfigServiceUnavailable``.
        """
        if self._refusals.until and (context.user, asked) in self._refusals:
            raise Refused(f"The Config Service refused {asked!r} a moment ago.")
        reading = self._read(asked)
        entry = reading.entry
        if entry is not None and entry.freshness is Freshness.FRESH:
            if entry.document is None:
                self._count("negative_hits")
                raise InstanceNotFound(f"{asked!r} does not exist.")
            self._count("hits")
            return Found(entry.document, Source.CACHE, entry.cached_at, entry.ttl_remaining(time()))
        self._count("misses")
        try:
            return self._ask(asked, reading, context, deadline)
        except ConfigServiceUnavailable:
            if entry is None or not self._settings.use_stale_on_error:
                raise
            # Read again: while the service was asked somebody may have invalidated the copy, and
            # it has aged.
            copy = self._read(asked).entry
            if copy is None or copy.document is None:
                raise
            self._count("stale_hits")
            return Found(copy.document, Source.STALE_CACHE, copy.cached_at, 0.0)

    def refresh(self, asked: str, context: LookupContext, deadline: Deadline) -> Found[D]:
        """Ask the Config Service whatever the cache holds, and store the answer.

        Raises as :meth:`load`.
        """
        return self._ask(asked, self._read(asked), context, deadline)

    def _ask(
        self, asked: str, reading: Reading[D], context: LookupContext, deadline: Deadline
    ) -> Found[D]:
        held = reading.entry if reading.entry and reading.entry.document is not None else None
        asked_at = time()
        try:
            answer = self._fetch(asked, self._query(context, deadline, held))
            body, document = self._accept(asked, answer, held)
        except InstanceNotFound:
            self._service.ok()
            self._remember_missing(asked, reading, asked_at)
            raise
        except AccessDenied as exc:
            self._service.ok()
            self._refusals.add(context.user, asked)
            raise Refused(str(exc), copy=held.document if held else None) from exc
        except InvalidContext:  # an id that the pattern lets pass, and no URL can hold
            raise
        except Exception as exc:
            raise self._failure(asked, exc) from exc
        self._service.ok()
        self._service.ok(self._part(asked))
        etag = answer.etag if isinstance(answer, Document) else held.etag if held else None
        self._remember(asked, body, reading, asked_at, etag)
        remaining = max(0.0, asked_at + self._settings.cache_ttl - time())
        return Found(document, Source.SERVICE, asked_at, remaining)

    def _query(self, context: LookupContext, deadline: Deadline, held: Entry[D] | None) -> Query:
        user = context.user
        return Query(
            deadline=deadline,
            request_id=context.request_metadata.request_id or fresh_request_id(),
            user_id=self._settings.config_service_user_id if user.is_service else user.user_id,
            etag=held.etag if held else None,
        )

    def _accept(
        self, asked: str, answer: Document | NotModified, held: Entry[D] | None
    ) -> tuple[bytes, D]:
        if isinstance(answer, Document):
            # From here on it is a local variable of ours, for as long as the cache takes.
            body = SecretBytes(answer.body)
            return body, read_document(self._store.kind, asked, body)
        if held is None or held.document is None:
            raise Rejected("answered 'not modified', but no copy is held")
        return held.body, held.document

    def _failure(self, asked: str, exc: Exception) -> ConfigServiceUnavailable:
        """Return the error for whatever went wrong, having logged it if it is news."""
        details, retry_after = {}, None
        if isinstance(exc, ConfigServiceUnavailable):
            details, retry_after = exc.details, exc.retry_after
        reason = (
            "rejected" if isinstance(exc, Rejected) else details.get("reason", type(exc).__name__)
        )
        if reason == "rejected":
            self._count("rejected")
            instance_rejected.send_robust(type(self), instance_id=asked, reason=str(exc))
        bug = None if isinstance(exc, ConfigServiceUnavailable | Rejected) else exc
        level = logging.ERROR if bug or reason in _OUR_FAULT else logging.WARNING
        part = self._part(asked) if reason in _OF_ONE_DOCUMENT else ""
        self._service.failed(reason, f"{asked!r}: {exc}", level, part=part, bug=bug)
        kind = self._store.kind.name
        return ConfigServiceUnavailable(
            f"The configuration of {kind} {asked!r} is not available at the moment.",
            retry_after=RETRY_AFTER if retry_after is None else retry_after,
            **{**details, "reason": reason, f"{kind}_id": asked},
        )

    def _read(self, asked: str) -> Reading[D]:
        try:
            reading = self._store.read(asked)
        except CacheError as exc:
            self._cache.failed("down", exc)
            return Reading(None, None)
        if self._cache.failing:
            self._cache.ok()
        return reading

    def _remember(
        self, asked: str, body: bytes, reading: Reading[D], asked_at: float, etag: str | None
    ) -> None:
        if reading.generation is None:
            return
        ttl = self._settings.cache_ttl
        try:
            self._store.write(
                asked, body, generation=reading.generation, cached_at=asked_at, ttl=ttl, etag=etag
            )
        except CacheError as exc:
            self._cache.failed("down", exc, part=_WRITING)
        else:
            self._cache.ok(_WRITING)

    def _remember_missing(self, asked: str, reading: Reading[D], asked_at: float) -> None:
        if reading.generation is None:
            return
        try:
            self._store.write_missing(asked, generation=reading.generation, asked_at=asked_at)
        except CacheError as exc:
            self._cache.failed("down", exc, part=_WRITING)
        else:
            self._cache.ok(_WRITING)

    def _part(self, asked: str) -> str:
        """Return what one document is called in the service's health."""
        return f"{self._store.kind.name} {asked!r}"
