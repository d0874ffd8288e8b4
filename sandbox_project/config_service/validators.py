"""What may stand in a configuration: one check a field, with messages for people.

Each takes the decoded JSON and raises ``ValidationError``. The messages never quote a value: it may
be an API key that was pasted into the wrong field.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

if TYPE_CHECKING:
    from collections.abc import Callable

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
URL_PATTERN: Final = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"([^\s\x00-\x1f\x7f\\/?#@\[\]]*@)?"
    r"([^\s\x00-\x1f\x7f\\/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?"
    r"([/?#][^\s\x00-\x1f\x7f]*)?$(?!\n)"
)
"""An http(s) URL with a host, as docs/reference/config-service.openapi.yaml has it."""
RATE_LIMIT_FIELDS: Final = {"rpm": 10**8, "rpm_burst": 10**8, "daily": 10**12}
"""The most that each may be."""

validate_id: Final = RegexValidator(
    rf"^{ID_PATTERN}\Z",
    "Use 1 to 64 letters, digits, “_” and “-”, beginning with a letter or digit.",
)


def validate_user_ids(value: Any) -> None:
    """Require a list of user ids."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError('Must be a JSON list of user ids as strings, such as ["7", "12"].')


def validate_object(check: Callable[[Any], bool], must: str, value: Any) -> None:
    """Require an object whose values pass ``check``; ``must`` says what that is."""
    if value is None:  # as good as absent
        return
    if not isinstance(value, dict):
        raise ValidationError('Must be a JSON object, such as {"name": …}.')
    errors = [f"{name!r}: must be {must}." for name, item in value.items() if not check(item)]
    if "" in value:
        errors.append("A name must not be empty.")
    if errors:
        raise ValidationError(errors)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_url(value: Any) -> bool:
    return isinstance(value, str) and re.match(URL_PATTERN, value) is not None


def is_rate_limit(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("rpm") is None:
        return False
    if not value.keys() <= RATE_LIMIT_FIELDS.keys():
        return False
    return all(
        item is None or is_count(item, RATE_LIMIT_FIELDS[name]) for name, item in value.items()
    )


def is_count(value: Any, most: int) -> bool:
    # To JSON 60.0 is an integer, and true is none; to Python it is the other way round.
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return is_whole and not isinstance(value, bool) and 0 <= value <= most


LIMIT: Final = (
    "an object of whole numbers: “rpm”, and maybe “rpm_burst” and “daily”, which may be null; "
    "none below zero, nor absurdly large"
)
CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "api_keys": partial(validate_object, is_text, "a string"),
    "rate_limits": partial(validate_object, is_rate_limit, LIMIT),
    "worker_urls": partial(validate_object, is_url, "a URL of http:// or https:// with a host"),
    "features": partial(validate_object, is_flag, "true or false"),
}
"""By field of a configuration."""
