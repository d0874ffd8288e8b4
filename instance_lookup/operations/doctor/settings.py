"""What the system checks of this package say, by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.checks import registry

from instance_lookup.exceptions import forget_locals
from instance_lookup.operations.doctor.findings import Finding, error, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.core.checks import CheckMessage

_OURS = "instance_lookup.checks"
ELSEWHERE = frozenset({"W002", "W003", "W004", "W005", "W007", "W010"})
"""Those that a probe with a name of its own tells."""


class Advice:
    """What ``manage.py check --deploy`` says of this package."""

    def __init__(self) -> None:
        self._messages: dict[str, CheckMessage] = {}
        self._failed = ""
        # Through the registry: the checks stand above this room, and know all that is below.
        for check in registry.registry.get_checks(include_deployment_checks=True):
            if check.__module__ == _OURS:
                self._take(check)

    def _take(self, check: Callable[..., Iterable[CheckMessage]]) -> None:
        try:
            for message in check(app_configs=None, databases=None):
                self._messages[str(message.id).rpartition(".")[2]] = message
        except Exception as exc:  # noqa: BLE001  # of what the site's settings name
            forget_locals(exc)
            self._failed = f"manage.py check fails ({type(exc).__name__})"

    def text(self, number: str) -> str | None:
        """Return what the check ``number`` says, unless the project has silenced it."""
        message = self._messages.get(number)
        return message.msg if message and not message.is_silenced() else None

    def finding(self, probe: str, number: str, fine: str) -> Finding:
        """Return what the check ``number`` says, as the finding of ``probe``.

        Where it says nothing, that is ``fine``, in words; empty: nothing is known.
        """
        message = self._messages.get(number)
        if message is None and (self._failed or not fine):
            return skipped(probe, self._failed or "not known of this cache")
        if message is None:
            return ok(probe, fine)
        if message.is_silenced():
            return skipped(probe, f"SILENCED_SYSTEM_CHECKS has {message.id}")
        return (error if message.is_serious() else warning)(probe, message.msg, message.hint or "")

    def others(self) -> Iterator[Finding]:
        """Yield what the other checks say."""
        numbers = self._messages.keys() - ELSEWHERE
        for number in sorted(numbers):
            yield self.finding("settings", number, "")
        if self._failed:
            yield warning("settings", self._failed, "Run it: it says where.")
        elif not numbers:
            yield ok("settings", "manage.py check --deploy finds nothing else to correct")
