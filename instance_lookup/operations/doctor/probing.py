"""Calls that end in time, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from instance_lookup.backends.base import Query
from instance_lookup.concurrency import pools
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import forget_locals
from instance_lookup.operations.doctor.findings import failure
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.conf import Settings

T = TypeVar("T")

GRACE = 1.0
"""Seconds by which a call may end after its deadline: a machine stands still at times."""


class Hangs(Exception):
    """A call did not end by its deadline."""


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Return ``call()``. Raise what it raises, and ``Hangs`` if it takes more than ``seconds``.

    It runs in a thread, as a lookup does, and is left behind there if it does not end.
    """
    future = pools.event_loops.submit(call)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # it is the error of the call itself
            raise
        future.cancel()
        raise Hangs from None


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one call of a backend."""

    answer: Any = field(repr=False)
    """What it returned; ``None`` where it raised."""
    error: Exception | None
    seconds: float

    @property
    def problem(self) -> str:
        """Why there is no answer, in words without a secret."""
        if isinstance(self.error, Hangs):
            return "it did not end by its deadline"
        return failure(self.error) if self.error else ""


class Asker:
    """Asks a backend for the site itself, each call within ``CONFIG_SERVICE_TIMEOUT``."""

    def __init__(self, backend: Any, settings: Settings) -> None:
        self.backend = backend
        self.seconds = settings.config_service_timeout
        self._user_id = settings.config_service_user_id

    def instance(
        self,
        instance_id: str,
        *,
        user_id: str | None = None,
        etag: str | None = None,
        seconds: float | None = None,
    ) -> Asked:
        """Ask for an instance, for ``user_id`` (``None``: the site's own).

        ``etag`` is that of a copy, ``seconds`` the time for it, if not ``CONFIG_SERVICE_TIMEOUT``.
        """
        query = self._query(seconds, user_id=user_id, etag=etag)
        return self._ask(lambda: self.backend.get_instance(instance_id, query), query)

    def project(self, project_id: str) -> Asked:
        """Ask for a project."""
        query = self._query()
        return self._ask(lambda: self.backend.get_project(project_id, query), query)

    def page(self, cursor: str | None = None) -> Asked:
        """Ask for the page of the list that begins at ``cursor``."""
        query = self._query()
        return self._ask(lambda: self.backend.list_instances(query, cursor), query)

    def _query(
        self, seconds: float | None = None, *, user_id: str | None = None, etag: str | None = None
    ) -> Query:
        return Query(
            deadline=Deadline.after(self.seconds if seconds is None else seconds),
            request_id=fresh_request_id(),
            user_id=user_id or self._user_id,
            etag=etag,
        )

    def _ask(self, call: Callable[[], object], query: Query) -> Asked:
        began = monotonic()
        try:
            answer = bounded(call, query.deadline.remaining() + GRACE)
        except Exception as exc:  # noqa: BLE001  # a backend of the project's own may raise anything
            forget_locals(exc)
            return Asked(None, exc, monotonic() - began)
        return Asked(answer, None, monotonic() - began)
