"""Whether a secret can be reached through an exception."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def shown(error: BaseException) -> str:
    """Return all that a log, a debug page or an error tracker shows of it.

    That is message, arguments, attributes, the chain, and the local variables of our own frames.
    """
    return "\n".join(_parts(error))


def _parts(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    yield f"{error!s} {error!r} {error.args!r} {vars(error)!r}"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "instance_lookup/" in frame.f_code.co_filename:
            yield repr(frame.f_locals)
    yield from _parts(error.__cause__)
    yield from _parts(error.__context__)
