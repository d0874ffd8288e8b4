"""Standard output and standard error, whose readers may go before a command is done."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.management.base import OutputWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Output(OutputWrapper):
    """A stream that may lose its reader, as ``| head`` goes when it has read enough.

    What is written then is lost, and the command goes on: an invalidation must not stop half way
    because its first line was all that was read.
    """

    reader_has_gone = False

    def write(  # type: ignore[override]  # as Django's own
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """Write ``msg`` as Django does, in the style of ``style_func``, ended by ``ending``."""
        with self._may_break():
            super().write(msg, style_func, ending)

    def flush(self) -> None:
        """Hand over what was written."""
        with self._may_break():
            super().flush()

    @contextmanager
    def _may_break(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.reader_has_gone = True
            # Python hands over what is left when it exits, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
