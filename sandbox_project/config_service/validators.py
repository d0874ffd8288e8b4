"""What may stand in a configuration: one check a field, with messages for people.

Each takes the decoded JSON and raises ``ValidationError``.
"""

from __future__ import annotations

import re
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.deconstruct import deconstructible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
URL_PATTERN: Final = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"([^\s\x00-\x1f\x7f\\/?#@\[\]]*@)?"
    r"([^\s\x00-\x1f\x7f\\/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?"
    r"([/?#][^\s\x00-\x1f\x7f]*)?$(?!\n)"
)
"""An http(s) URL with a host, as docs/config-service.openapi.yaml has it."""
RATE_LIMIT_FIELDS: Final = ("rpm", "rpm_burst", "daily")


@deconstructible
class IdValidator(RegexValidator):
    """Require an id that clients accept."""

    regex = rf"^{ID_PATTERN}\Z"
    message = "Use 1 to 64 letters, digits, “_” and “-”, beginning with a letter or digit."


def error_statuses() -> list[tuple[int, str]]:
    """Return what the service can be told to answer."""
    statuses = map(HTTPStatus, (408, 410, 425, 429, 500, 502, 503, 504))
    return [(status.value, f"{status.value} {status.phrase}") for status in statuses]


def validate_user_ids(value: Any) -> None:
    """Require a list of user ids."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError('Must be a JSON list of user ids as strings, such as ["7", "12"].')


def validate_object(problems: Callable[[Any], Iterator[str]], value: Any) -> None:
    """Require an object, and for each of its values what ``problems`` finds nothing wrong with."""
    if value is None:  # as good as absent
        return
    if not isinstance(value, dict):
        raise ValidationError('Must be a JSON object, such as {"name": …}.')
    errors = [f"{name!r}: {text}" for name, item in value.items() for text in problems(item)]
    if "" in value:
        errors.append("A name must not be empty.")
    if errors:
        raise ValidationError(errors)


# The messages never quote the value: it may be an API key pasted into the wrong field.


def string_problems(value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield "must be a string."


def flag_problems(value: Any) -> Iterator[str]:
    if not isinstance(value, bool):
        yield "must be true or false."


def url_problems(value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not re.match(URL_PATTERN, value):
        yield "must be a URL that begins with http:// or https:// and names a host."


def rate_limit_problems(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield 'must be an object, such as {"rpm": 60}.'
        return
    if "rpm" not in value:
        yield "“rpm” (requests per minute) is required."
    for name, number in value.items():
        or_null = "" if name == "rpm" else ", or null"
        if name not in RATE_LIMIT_FIELDS:
            yield f"{name!r} is not one of {', '.join(RATE_LIMIT_FIELDS)}."
        elif not is_limit(number) and not (number is None and or_null):
            yield f"{name!r} must be a whole number of at least 0{or_null}."


def is_limit(value: Any) -> bool:
    # To JSON 60.0 is an integer, and true is none; to Python it is the other way round.
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return is_whole and not isinstance(value, bool) and value >= 0


CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "api_keys": partial(validate_object, string_problems),
    "rate_limits": partial(validate_object, rate_limit_problems),
    "worker_urls": partial(validate_object, url_problems),
    "features": partial(validate_object, flag_problems),
}
"""By field of a configuration."""
