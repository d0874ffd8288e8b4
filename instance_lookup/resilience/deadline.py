"""A point in time by which work must have ended."""

from __future__ import annotations

from time import monotonic

from msgspec import Struct


class Deadline(Struct, frozen=True):
    """A moment on the monotonic clock: a wall clock that jumps does not move it."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies ``seconds`` from now."""
        return cls(monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self.at - monotonic())
