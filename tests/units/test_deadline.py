from __future__ import annotations

from time import monotonic

from instance_lookup.resilience.deadline import Deadline


def test_remaining_counts_down_from_the_given_seconds() -> None:
    """`after(n)` lies n seconds ahead, no more."""
    before = monotonic()
    deadline = Deadline.after(5.0)
    assert before + 5.0 <= deadline.at <= monotonic() + 5.0
    assert 0.0 < deadline.remaining() <= 5.0


def test_remaining_is_zero_when_passed() -> None:
    """A passed deadline leaves nothing, never a negative timeout."""
    assert Deadline(monotonic() - 1.0).remaining() == 0.0
