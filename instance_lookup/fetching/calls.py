"""One call to the Config Service, told to those who watch."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from instance_lookup import events
from instance_lookup.backends.answers import Reason
from instance_lookup.backends.base import Document, NotModified
from instance_lookup.cache.entry import OtherSpelling, Rejected
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
)

if TYPE_CHECKING:
    from types import TracebackType

    from instance_lookup.backends.base import Query

OTHER = "other"
_ANSWERS = frozenset({"ok", "not_modified", "denied", "missing"})
_LABELS = _ANSWERS.union(Reason)


class Call:
    """Lasts from the question until the answer is read. What is raised inside is its outcome."""

    __slots__ = ("_about", "_began", "_moment", "_query", "answer")

    def __init__(self, kind: str, asked: str, query: Query) -> None:
        """Call for the id ``asked`` of a ``kind``. Watchers may add to the headers of ``query``."""
        self.answer: Document | NotModified | None = None
        self._about = kind, asked
        self._query = query

    @property
    def status(self) -> int | None:
        """The HTTP status that a document came with."""
        return self.answer.status if isinstance(self.answer, Document) else None

    def __enter__(self) -> None:
        self._began = None
        if events.watchers:
            self._began, self._moment = time(), monotonic()
            events.tell(events.Began("service_call", self._query.headers))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._began is None:  # nothing watched when it began
            return
        status = self.status
        if isinstance(exc, AccessDenied | InstanceNotFound):
            status = exc.status_code
        elif isinstance(exc, ConfigServiceUnavailable):
            status = exc.details.get("status")
        events.tell(
            events.ServiceCall(
                *self._about,
                outcome=self._outcome(exc),
                status=status,
                began=self._began,
                seconds=monotonic() - self._moment,
                request_id=self._query.request_id,
            )
        )

    def _outcome(self, exc: BaseException | None) -> str:
        match exc:
            case None:
                return "not_modified" if isinstance(self.answer, NotModified) else "ok"
            case AccessDenied():
                return "denied"
            case InstanceNotFound() | OtherSpelling():
                return "missing"
            case Rejected():
                return "rejected"
        reason = reason_of(exc)
        # A backend may say anything, but no failure counts as an answer.
        return type(exc).__name__ if reason in _ANSWERS else reason


def reason_of(exc: BaseException) -> str:
    """Return why there was no usable answer: its reason, else the class of the error."""
    details = exc.details if isinstance(exc, ConfigServiceUnavailable) else {}
    return str(details.get("reason") or type(exc).__name__)


def label(outcome: str) -> str:
    """Return the ``outcome`` of a :class:`~instance_lookup.events.ServiceCall` as a label.

    A backend's own reason may be any text, and each value of a label is kept for as long as the
    process lives: those that are not ours, and classes of errors, are ``"other"``.
    """
    return outcome if outcome in _LABELS else OTHER
