"""The clock of a call, put forward where a connection has done a step: no speed decides a test."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from instance_lookup.backends.transport import DeadlineConnection
from tests.behaviour.http.queries import query

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from instance_lookup.backends.base import Query

_LONG = 30.0
"""Seconds of a call until it has come to its last step."""
_CLOCKS = ("resilience.deadline", "backends.sockets", "backends.transport")


class Steps:
    """A query with time enough, of which the ``steps`` leave little.

    A step is a method of the connection, and how many seconds are left when it has returned. They
    come in this order. What gives a later step more than is left takes far longer than ``within``
    allows.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps: tuple[str, float]) -> None:
        self._passed = 0.0
        self._due = list(steps)
        for module in _CLOCKS:
            monkeypatch.setattr(f"instance_lookup.{module}.monotonic", self._now)
        for name in {name for name, _ in steps}:
            monkeypatch.setattr(DeadlineConnection, name, self._followed(name))
        self.query: Query = query(_LONG)

    def _now(self) -> float:
        return monotonic() + self._passed

    def _followed(self, name: str) -> Callable[..., Any]:
        method = getattr(DeadlineConnection, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if self._due and self._due[0][0] == name:
                _, left = self._due.pop(0)
                self._passed += max(0.0, self.query.deadline.remaining() - left)
            return result

        return step
