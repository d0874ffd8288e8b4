"""Ctrl-C and its relatives, at moments when they do no harm."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ctrl-C, a polite kill, a terminal that is closed.
SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """Have each signal raise ``KeyboardInterrupt``, so that every ``finally`` has its turn."""
    with _handled_by(signal.default_int_handler):
        yield


@contextmanager
def held() -> Iterator[None]:
    """Put signals off to the end of the block: a server that is half started cannot be stopped."""
    came: list[int] = []
    with _handled_by(lambda *signalled: came.append(signalled[0])):
        try:
            yield
        except Exception:
            # The interrupted server's last words would only hide why it did not start.
            if not came:
                raise
    if came:
        raise KeyboardInterrupt


@contextmanager
def ignored() -> Iterator[None]:
    """Let nobody interrupt the cleaning up."""
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    before = [(number, signal.signal(number, handler)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)
