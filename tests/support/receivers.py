"""What tests connect to Django's signals, kept from one test to the next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.dispatch import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@contextmanager
def receivers_forgotten(*modules: ModuleType) -> Iterator[None]:
    """Disconnect from the signals of these modules what was connected in the block.

    A signal holds a receiver weakly. A receiver that a test leaves in a module or a closure hears
    what later tests do, until the garbage collector happens to run.
    """
    signals = [each for module in modules for each in vars(module).values()]
    before = {each: list(each.receivers) for each in signals if isinstance(each, Signal)}
    try:
        yield
    finally:
        for signal, known in before.items():
            with signal.lock:  # a thread that outlives the test may be sending
                signal.receivers = [each for each in signal.receivers if each in known]
                signal.sender_receivers_cache.clear()
