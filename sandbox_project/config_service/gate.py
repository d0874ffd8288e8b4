"""What every API request passes before its view: the switches, the credential, the user's id."""

from __future__ import annotations

import random
import re
import time
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from django.conf import settings
from django.utils.crypto import constant_time_compare

from config_service.models import Switches
from config_service.problems import Problem

if TYPE_CHECKING:
    from django.http import HttpRequest

REALM: Final = 'Bearer realm="config-service"'
USER_ID_LENGTH: Final = 200
ENCODED: Final = re.compile(r"(?:[\x21-\x24\x26-\x7e]|%[0-9A-Fa-f]{2})+")


def check(request: HttpRequest) -> None:
    """Raise a ``Problem`` for a request that must not reach its view."""
    obey(Switches.load())
    check_credential(request)
    user_id(request)


def obey(switches: Switches) -> None:
    """Be slow, down or faulty, as the switches say."""
    if switches.slow:
        time.sleep(switches.slow)
    if switches.down:
        raise Problem(503, "The service is switched off.", _retry_after(switches))
    if random.random() * 100 < switches.errors:
        status = switches.errors_status
        headers = _retry_after(switches) if status in {429, 503} else None
        raise Problem(status, "The service was told to answer this.", headers)


def _retry_after(switches: Switches) -> dict[str, str]:
    return {} if switches.retry_after is None else {"Retry-After": str(switches.retry_after)}


def check_credential(request: HttpRequest) -> None:
    """Require ``Authorization: Bearer`` with the configured token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(401, "A bearer token is required.", {"WWW-Authenticate": REALM})
    expected = getattr(settings, "CONFIG_SERVICE_TOKEN", "")
    if not constant_time_compare(token.strip(), expected):
        challenge = f'{REALM}, error="invalid_token"'
        raise Problem(401, "The bearer token is wrong.", {"WWW-Authenticate": challenge})


def user_id(request: HttpRequest) -> str | None:
    """Return the user named in ``X-User-ID``, for whom the client asks; ``None`` for nobody."""
    raw = request.headers.get("X-User-ID")
    if raw is None:
        return None
    if not ENCODED.fullmatch(raw):
        raise Problem(400, "X-User-ID must be visible ASCII, all else percent-encoded.")
    try:
        value = unquote(raw, errors="strict")
    except UnicodeDecodeError as exc:
        raise Problem(400, "X-User-ID is not UTF-8, percent-encoded.") from exc
    if len(value) > USER_ID_LENGTH:
        raise Problem(400, f"X-User-ID has more than {USER_ID_LENGTH} characters.")
    if any(unicodedata.category(char) == "Cc" for char in value):
        raise Problem(400, "X-User-ID must not hold control characters.")
    return value
