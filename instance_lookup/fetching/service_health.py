"""How the Config Service is doing, as far as this process knows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from instance_lookup import events
from instance_lookup.fetching.deletions import BELIEVED, Deletions
from instance_lookup.fetching.reasons import meaning_of
from instance_lookup.resilience.breaker import Breaker
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    from collections.abc import Collection

    from instance_lookup.cache.leniency import LeftOut
    from instance_lookup.cache.stats import Counters
    from instance_lookup.conf import Settings

logger = logging.getLogger("instance_lookup")

_GONE = "what it says is gone"
"""The part of the service's health that only a document restores."""
_NAMED = 10
"""Parts of a document that one line names."""


class ServiceHealth:
    """What the loaders of one resolver share."""

    def __init__(self, settings: Settings, counters: Counters, service: str) -> None:
        """Judge as ``settings`` say, and count in ``counters``.

        ``service`` is what log lines call the Config Service, with where it is.
        """
        self.count = counters.add
        self._settings = settings
        self._service_name = service
        self.service = Health(service)
        self._incomplete = Health(service)
        self.breaker = Breaker(
            failures=settings.breaker_failures,
            reset=settings.breaker_reset,
            # A moment more than a call may take: there is never a second probe beside the first.
            probe=settings.config_service_timeout + 1.0,
        )
        self.deletions = Deletions()

    @property
    def trouble(self) -> tuple[str, float] | None:
        """Why the service as a whole has no usable answers, and since when (Unix time).

        ``None``: it has. The reason is a key of ``reasons``, or a backend's own.
        """
        failing, since = self.service.failing, self.service.since
        for part in ("", _GONE):
            # Another thread may take it out between the two looks.
            reason, began = failing.get(part), since.get(part)
            if reason is not None and began is not None:
                return str(reason), began
        return None

    @property
    def troubled_documents(self) -> int:
        """Of how many documents the service has no usable answer, while it has of others."""
        return sum(1 for part in [*self.service.failing] if part not in ("", _GONE))

    def document_received(self, about: str, drops: int) -> None:
        """Note a document. ``drops`` is :attr:`Deletions.drops` from before the call."""
        self.service_is_up()
        is_counted = self.deletions.note_document(drops)
        if not self.service.failing:  # most often: nothing is news
            return
        self.service.ok(about)
        if is_counted:
            self.service.ok(
                _GONE,
                f"{self._service_name} answers with documents again: when it says that an"
                " instance is gone, that is believed again.",
            )

    def left_out(self, about: str, parts: Collection[LeftOut]) -> None:
        """Count the ``parts`` left out of an answer; log them unless the last one lacked the same.

        ``about`` names the document, as in ``instance 'acme'``.
        """
        for _ in parts:
            self.rejected("part")
        if not parts and about not in self._incomplete.failing:
            return
        what = hash(frozenset(parts)) if parts else None
        if self._incomplete.changes(about, what) and parts:
            names = [part.place for part in parts]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            # Code may miss a flag or a URL; only people read a date or a description.
            is_minor = all(part.is_decoration for part in parts)
            logger.log(
                logging.INFO if is_minor else logging.WARNING,
                "The Config Service sent values of a wrong kind for %s. It is used without them: "
                "%s%s. Correct them in the Config Service; docs/reference/config-service.md says "
                "what each may be.",
                about,
                ", ".join(names[:_NAMED]),
                more,
            )

    def rejected(self, what: str) -> None:
        """Count a ``"document"`` that is refused, or a ``"part"`` that one is used without."""
        self.count("rejected")
        if events.watchers:
            events.tell(events.Rejection(what))

    def service_is_up(self) -> None:
        """Note an answer of any kind, also a 403 or 404."""
        self.breaker.succeeded()
        self.service.ok()

    def service_failed(
        self,
        reason: str,
        about: str,
        said: str,
        *,
        retry_after: float | None = None,
        bug: BaseException | None = None,
    ) -> None:
        """Note that there was no usable answer, and log it if that is news.

        ``reason`` is a key of ``reasons``, or a backend's own. ``about`` names the document, as in
        ``instance 'acme'``; ``said`` is the message. ``retry_after`` is in seconds, by the service.
        ``bug`` is the exception of a backend that is broken: the log shows its traceback.
        """
        meaning = meaning_of(reason)
        if meaning.is_there:
            self.breaker.succeeded()
        else:
            self.breaker.failed(about, retry_after)
        then = "Meanwhile callers get "
        if self._settings.use_stale_on_error:
            then += f"the copy in the cache, or {meaning.without_copy} where there is none."
        elif meaning.without_copy == 503:
            then += "503."
        else:
            then += f"503, or {meaning.without_copy} where there is no copy."
        level = logging.ERROR if bug or meaning.is_lasting else logging.WARNING
        part = about if meaning.is_of_one else _GONE if meaning.is_until_a_document else ""
        if not said.startswith(self._service_name):  # a backend of the project's own
            said = f"{self._service_name} has no usable answer for {about}: {said}"
        advice = "This is a bug in the backend: see the traceback." if bug else meaning.advice
        line = f"{said.rstrip('.')}. {then} {advice}"
        self.service.failed(reason, line, level, part=part, bug=bug)

    def service_overran(self, about: str) -> None:
        """Note a call, ``about`` this document, that a backend did not end by its deadline."""
        self.breaker.failed(about)
        self.service.failed(
            "timeout",
            f"{self._service_name}: its backend overruns CONFIG_SERVICE_TIMEOUT"
            f" ({self._settings.config_service_timeout:g} s). Callers were answered at that time,"
            " the thread is still busy. Have the backend end its calls by query.deadline.",
        )

    def copy_dropped(self, about: str, said: str) -> None:
        """Note that the service says there is no such thing, and that there was a copy of it."""
        line = (
            f"{self._unknown(about, said)}. Its copy in the cache is invalidated, and callers get"
            " 404. If it was not deleted, check CONFIG_SERVICE_URL and the service."
        )
        logger.warning(line)

    def everything_gone(self, about: str, said: str) -> str:
        """Return the message for a "does not exist" that is not believed."""
        return (
            f"{self._unknown(about, said)}, nor the last {BELIEVED} of which there was a copy: it"
            " says that everything is gone."
        )

    def _unknown(self, about: str, said: str) -> str:
        if not said.startswith(self._service_name):  # a backend of the project's own
            said = f"{self._service_name} does not know {about}: {said}"
        return said.rstrip(".")
