"""What a scenario found: samples in one unit, and what is to hold of them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from benchmarks.rounds import Sample


class Bound(Struct, frozen=True, omit_defaults=True):
    """A limit for one contender. It is reported and fails nothing, since machines are noisy."""

    of: str
    limit: float
    to: str | None = None
    """The contender that it is compared with; ``None``: the value itself is bounded."""
    how: Literal["times", "more"] = "times"
    """``of`` is at most ``limit`` times ``to``, or at most ``limit`` more than it."""
    at_least: bool = False

    def found(self, samples: dict[str, Sample]) -> float | None:
        """Return what is to be held against the limit; ``None`` where a contender is missing."""
        subject = samples.get(self.of)
        if subject is None:
            return None
        if self.to is None:
            return min(subject.rounds) if self.at_least else max(subject.rounds)
        other = samples.get(self.to)
        if other is None:
            return None
        return subject.more(other) if self.how == "more" else subject.ratio(other)

    def holds(self, found: float) -> bool:
        return found >= self.limit if self.at_least else found <= self.limit

    @property
    def text(self) -> str:
        """The bound as people write it."""
        sign = "≥" if self.at_least else "≤"
        if self.to is None:
            return f"{sign} {self.limit:g}"
        if self.how == "more":
            return f"{sign} {self.limit:g} more than {self.to}"
        return f"{sign} {self.limit:g} × {self.to}"


class Result(Struct, frozen=True, kw_only=True):
    """One table of a report."""

    title: str
    unit: str
    samples: dict[str, Sample]
    """By contender, in the order in which they are shown."""
    ours: tuple[str, ...]
    against: str | None = None
    """The contender to which the others' ratios are shown."""
    bounds: tuple[Bound, ...] = ()
    placement: str = ""
    """What ran on which core."""
    missing: tuple[str, ...] = ()
    """Contenders that did not take part, and why."""
    notes: tuple[str, ...] = ()


class Effort(Struct, frozen=True):
    """How much of it: ``quick`` shows that a scenario works, and measures nothing."""

    quick: bool = False

    def rounds(self, usual: int) -> int:
        return 2 if self.quick else usual

    def calls(self, usual: int, quick: int = 20) -> int:
        return quick if self.quick else usual
