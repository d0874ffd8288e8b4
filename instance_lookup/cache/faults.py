"""What is wrong with a document, told without any of its values."""

from __future__ import annotations

import re

import msgspec

_REPEATING = re.compile(
    r"(Invalid (?:enum )?value|Object contains unknown field) .*?(?= - at `\$[\w.\[\]]*`\Z|\Z)",
    re.DOTALL,
)
"""Messages of msgspec that repeat what they are about, up to the place."""


def problem_of(exc: Exception, read_into: type) -> str:
    """Return what is wrong with a document, and where, without any of its values."""
    if isinstance(exc, RecursionError):
        return "nested too deeply"
    name = f"{read_into.__module__}.{read_into.__qualname__}"
    if not isinstance(exc, msgspec.MsgspecError):
        return f"{name}: its code raised {type(exc).__name__}"
    if not isinstance(exc, msgspec.ValidationError):
        return f"{type(exc).__name__}: {exc}"
    # msgspec says what it expected and where: "Expected `int`, got `str` - at `$.quota`", and but
    # for two cases never what it read. What the code of a CONFIG_CLASS says may be anything.
    text = _REPEATING.sub(r"\1", str(exc))
    if (cause := exc.__cause__) is not None:
        place = str(exc).removeprefix(str(cause))
        text = f"its code raised {type(cause).__name__}{place}"
    what, _, place = text.partition(" - at ")
    field = place.rpartition("$")[2].strip(".`")
    return f"field `{field}` of {name}: {what}" if field else f"{name}: {what}"
