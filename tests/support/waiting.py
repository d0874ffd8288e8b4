"""Waiting for what another thread or process does, and proof that nothing waited for long."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLACK = 10.0
"""Seconds that a loaded machine may lose. What breaks a promise has to take far longer."""


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll until the condition is true; fail when it takes longer than ``seconds``."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.005)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes longer than the ``seconds`` that it promises, and ``SLACK``."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds + SLACK
