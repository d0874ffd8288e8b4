"""What an answer of the Config Service means: pure functions from status, headers and body."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from enum import StrEnum
from time import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from instance_lookup.backends.base import Page
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

GONE = frozenset({404, 410})
"""The statuses that say that an instance or project does not exist, or no longer."""
MAX_RETRY_AFTER = 60.0
_JSON = "application/json"
_LONGEST_SHOWN = 100


class Reason(StrEnum):
    """Why there was no usable answer (``ConfigServiceUnavailable.details["reason"]``)."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REDIRECT = "redirect"
    CREDENTIAL = "credential"
    """401: the service does not accept our token."""
    STATUS = "status"
    """5xx, 408, 425, and numbers that no standard knows."""
    RATE_LIMITED = "rate_limited"
    """429: it is said to one user about one document."""
    REJECTED = "rejected"
    """Against the contract: too big, encoded, 204, a 304 without ``If-None-Match``."""
    CLIENT_ERROR = "client_error"
    """Any other 4xx: we asked wrongly."""
    NOT_THE_SERVICE = "not_the_service"
    """404 or 410 with a page instead of JSON: another server than the Config Service answers."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; a traceback that shows local variables shows its ``status`` only.

    ``headers`` are found by name in any spelling. ``body`` is ``None`` where it was refused or is
    not needed; ``refused`` says why, where the status does not. ``is_from_service`` tells whether a
    404 or 410 comes from the Config Service itself, see :func:`is_from_service`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    refused: str = ""
    is_from_service: bool = False


class Subject(NamedTuple):
    """What was asked for: in words (``text``), and its id by name (``ids``) if it is one document.

    ``service`` is what was asked, such as "The Config Service at https://config.example.com".
    """

    text: str
    ids: dict[str, Any]
    service: str


def verdict(reply: Reply, subject: Subject) -> InstanceLookupError:
    """Return the error for an answer without a usable body."""
    status = reply.status
    if status == 403:
        return AccessDenied(
            f"{subject.service} denies {subject.text} to this user ({status}).", **subject.ids
        )
    if status in GONE and subject.ids:  # a missing list is not a missing instance
        if reply.is_from_service:
            return InstanceNotFound(
                f"{subject.service} does not know {subject.text} ({status}).", **subject.ids
            )
        return unavailable(subject, Reason.NOT_THE_SERVICE, status=status, hint=_not_json(reply))
    wait = retry_after(reply.headers.get("Retry-After"), time()) if status in {429, 503} else None
    details = {"error": reply.refused} if reply.refused else {}
    return unavailable(subject, _reason(status), retry_after=wait, status=status, **details)


def unavailable(
    subject: Subject,
    reason: Reason,
    *,
    retry_after: float | None = None,
    hint: str | None = None,
    **details: Any,
) -> ConfigServiceUnavailable:
    """Return the error for "no usable answer about ``subject``".

    ``reason`` says why, ``retry_after`` for how many seconds the service asks to be left alone.
    ``hint`` stands in the message in place of status and error. ``details`` (numbers and names) are
    kept on the error.
    """
    shown = hint or ", ".join(str(details[name]) for name in ("status", "error") if name in details)
    if "proxy" in details:
        shown += f" at the proxy {details['proxy']}"
    return ConfigServiceUnavailable(
        f"{subject.service} gave no usable answer for {subject.text}: {reason} ({shown}).",
        retry_after=retry_after,
        reason=reason,
        **details,
        **subject.ids,
    )


def is_from_service(content_type: str | None, body: bytes | None) -> bool:
    """Tell whether a 404 or 410 comes from the Config Service itself, by its body.

    That is JSON that says it is JSON (or says nothing: RFC 9110, section 8.3), or no body at all. A
    wrong path, an ingress or a proxy answers with a page of its own.
    """
    if not body:
        return body is not None
    media_type = (content_type or _JSON).partition(";")[0].strip().lower()
    return (media_type == _JSON or media_type.endswith("+json")) and _is_json(body)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body.removeprefix(BOM_UTF8), type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def _not_json(reply: Reply) -> str:
    kind = reply.headers.get("Content-Type", "without a Content-Type")
    return f"{reply.status}, and the body is not JSON: {kind[:_LONGEST_SHOWN]!r}"


def _reason(status: int) -> Reason:
    if 200 <= status < 300 or status == 304:
        return Reason.REJECTED
    if 300 <= status < 400:
        return Reason.REDIRECT
    if status == 401:
        return Reason.CREDENTIAL
    if status == 429:
        return Reason.RATE_LIMITED
    if 400 <= status < 500 and status not in {408, 425}:
        return Reason.CLIENT_ERROR
    return Reason.STATUS


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for, at most ``MAX_RETRY_AFTER``."""
    if value is None:
        return None
    if re.fullmatch("[0-9]+", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        date = parsedate_tz(value)
        return date and min(max(mktime_tz(date) - now, 0.0), MAX_RETRY_AFTER)
    except (ValueError, OverflowError):  # a date that does not exist
        return None


Id = Annotated[str, msgspec.Meta(min_length=1)]


class _Item(msgspec.Struct):
    instance_id: Id


class _PageOfIds(msgspec.Struct):
    instances: list[Id | _Item]
    next: str | None = None


def decode_page(body: bytes, cursor: str | None) -> Page | None:
    """Return the page that begins at ``cursor``, or ``None`` where the body is not one."""
    try:
        listing = msgspec.json.decode(body.removeprefix(BOM_UTF8), type=_PageOfIds)
    except (ValueError, RecursionError):
        return None
    if listing.next and listing.next == cursor:  # would be paged through for ever
        return None
    ids = (item if isinstance(item, str) else item.instance_id for item in listing.instances)
    return Page(tuple(ids), listing.next or None)
