"""What a delivery is answered with: the order in which it is looked at."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from instance_lookup import events
from instance_lookup.conf import Settings, get_settings, on_change
from instance_lookup.exceptions import CacheError
from instance_lookup.push.changes import apply, parse
from instance_lookup.push.deliveries import Delivery, deliver
from instance_lookup.push.limits import LIMITS, Limits
from instance_lookup.push.signature import NotSigned, verify
from instance_lookup.registry import get_resolver
from instance_lookup.resilience.expiring import Expiring
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUIET = 600.0
"""Seconds for which the log is not told again of what strangers can do at any time."""
_SOON, _LATER = 1, 5
"""Seconds after which to deliver again: another one is at work, or the cache fails."""


class Answer(NamedTuple):
    """What a delivery is answered with."""

    outcome: str
    """For metrics: see ``events.Delivered``."""
    status: int
    detail: str = ""
    """What is wrong, for the people who run the sender."""
    retry_after: int | None = None
    """Seconds."""


class Receiver:
    """Looks at deliveries: cheap looks that need no cache come first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(settings.cache_alias)
        self._health = Health("The webhook")
        self._told: Expiring[bool] = Expiring(_QUIET)

    def receive(
        self, headers: Mapping[str, str], body: bytes, *, source: str, now: float
    ) -> Answer:
        """Have a delivery take its effect, and return the answer. Blocks while the cache does.

        ``headers`` takes names in any case, ``source`` is the address of the sender and ``now``
        Unix time.
        """
        answer = self._answer(headers, body, source, now)
        tell(answer.outcome)
        return answer

    def _answer(self, headers: Mapping[str, str], body: bytes, source: str, now: float) -> Answer:
        try:
            delivery_id = verify(headers, body, self._settings.webhook_secrets, now)
        except NotSigned as exc:
            reason = str(exc)
            if wait := self._limits.wait("unsigned", source, now):
                return self._limited("unsigned", source, wait)
            # Each reason counts as news: who corrects the secret sees that the clock is off, too.
            self._note("signatures", f"was refused: {reason}", source, news=reason)
            return Answer("unsigned", 401, reason)
        if wait := self._limits.wait("signed", source, now):
            return self._limited("signed", source, wait)
        self._health.ok("signatures", "The webhook got a delivery with a good signature.")
        try:
            change = parse(body)
        except ValueError as exc:
            self._note("events", f"has a good signature, but is of no use: {exc}", source)
            return Answer("malformed", 400, str(exc))
        self._health.ok("events", "The webhook got an event that it can read.")
        if change is None:
            return Answer("ignored", 202)
        return self._deliver(delivery_id, partial(apply, change, get_resolver()))

    def _deliver(self, delivery_id: str, effect: partial[None]) -> Answer:
        try:
            delivered = deliver(delivery_id, effect, self._settings.cache_alias)
        except CacheError as exc:
            self._health.failed(
                "down",
                f"{exc} Deliveries to the webhook are answered with 503, so that they come again:"
                " until then changes are seen after CACHE_TTL.",
                part="cache",
            )
            return Answer("unavailable", 503, "The cache failed. Deliver it again.", _LATER)
        self._health.ok("cache")
        self._look_at_counts()
        if delivered is Delivery.PENDING:
            detail = "It is being worked on. Deliver it again to learn what came of it."
            return Answer("pending", 503, detail, _SOON)
        return Answer(delivered.value, 204)

    def _look_at_counts(self) -> None:
        """Log that a cache which works does not count; one that is down has its own line."""
        if (failure := self._limits.failure) is None:
            return
        if failure:
            self._health.failed(
                failure,
                f"The cache {self._settings.cache_alias!r} does not count deliveries to the webhook"
                f" ({failure}): their number has no limit. On Redis its user needs INCR, see"
                " docs/explanation/security.md.",
                part="counts",
            )
        else:
            self._health.ok("counts", "Deliveries to the webhook are counted again.")

    def _limited(self, sort: str, source: str, wait: int) -> Answer:
        limit = f"more than {LIMITS[sort]} {sort} ones came from there in a minute"
        self._note(f"the number of {sort} ones", f"was refused: {limit}", source)
        return Answer("limited", 429, "Too many deliveries.", wait)

    def _note(self, part: str, what: str, source: str, news: str = "") -> None:
        """Log what is wrong with a delivery, unless the log had that a moment ago.

        Without that, forged deliveries between real ones would be a change of state each time.
        ``news``, one of a few texts, is what makes a line different from others of that ``part``.
        """
        if self._told.get(told := f"{part} {news}"):
            return
        self._told.put(told, value=True)
        self._health.changes(part, None)  # so that it is news again: the last line is long ago
        self._health.failed(
            "wrong",
            f"A delivery to the webhook from {source[:64]!r} {what}. The next ones like it are not"
            f" logged for {_QUIET / 60:g} minutes. If the Config Service sent it, compare its"
            " secret, clock and events with ours.",
            level=logging.WARNING,
            part=part,
        )


@cache
def get_receiver() -> Receiver:
    """Return the process's receiver for the settings. Raises ``ImproperlyConfigured``."""
    return Receiver(get_settings())


def tell(outcome: str) -> None:
    """Tell those who watch what came of a delivery."""
    if events.watchers:
        events.tell(events.Delivered(outcome))


on_change(get_receiver.cache_clear)
