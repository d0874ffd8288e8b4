"""What the values of settings have to be.

Types carry their bounds, which msgspec checks. Functions check what no type can say: they return
what is wrong in a sentence, or ``None`` when nothing is. No sentence contains a secret's value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

import msgspec
from django.utils.module_loading import import_string
from msgspec import Meta

Complain = Callable[[Any], str | None]

SECRET = Meta(extra={"secret": True})
"""Annotates a setting whose value is never shown."""

Text = Annotated[str, Meta(description="a string")]
Flag = Annotated[bool, Meta(description="True or False")]  # "False" would be true
Seconds = Annotated[float, Meta(gt=0, le=1e308, description="a positive number of seconds")]
Share = Annotated[float, Meta(gt=0, le=1, description="a number above 0 and at most 1")]
Count = Annotated[int, Meta(gt=0, description="a positive integer")]
Whole = Annotated[int, Meta(ge=0, description="0 or a positive integer")]
Names = Annotated[tuple[str, ...], Meta(description="a list of strings")]
_HEADER = "the name of an HTTP header, such as 'X-My-Header'"
HeaderName = Annotated[  # RFC 9110, section 5.6.2; without "_", which servers drop
    str, Meta(pattern=r"^[!#$%&'*+.^`|~0-9A-Za-z-]+\Z", description=_HEADER)
]
HeaderValue = Annotated[
    str, Meta(pattern=r"^ *[!-~][ -~]*\Z", description="a non-blank string of printable ASCII")
]


def complain(value: Any, hint: Any) -> str | None:
    """Return what is wrong with a value for a setting of the type ``hint``, or ``None``."""
    if value is None and NoneType in get_args(hint):
        return None
    notes = _notes(hint)
    if checks := [note for note in notes if not isinstance(note, Meta)]:
        return next(filter(None, (check(value) for check in (*checks, hashable))), None)
    try:
        # A set would become a tuple, in any order. A Decimal passes for a float, and adds to none.
        if msgspec.convert(value, hint) == value and not isinstance(value, Decimal):
            return None
    except (msgspec.ValidationError, UnicodeError):  # the latter for text that is no Unicode
        pass
    what = describe(hint)
    return f"must be {what}." if is_secret(hint) else f"must be {what}, not {value!r}."


def describe(hint: Any) -> str:
    """Return in words what values of a type are, such as "a positive number of seconds"."""
    metas = (note for note in _notes(hint) if isinstance(note, Meta))
    return " ".join(meta.description for meta in metas if meta.description)


def is_secret(hint: Any) -> bool:
    """Tell whether the values of a type are never shown."""
    return SECRET in _notes(hint)


@cache
def _notes(hint: Any) -> tuple[Any, ...]:
    """Return what annotates a type and its parts: ``Meta``, and functions that check."""
    inner = (note for part in get_args(hint) for note in _notes(part))
    return (*getattr(hint, "__metadata__", ()), *inner)


def hashable(value: Any) -> str | None:
    """Accept what can be hashed: equal settings share one resolver, found by its settings."""
    try:
        hash(value)
    except TypeError:
        return "holds something that cannot be hashed. Make its dataclass frozen."
    return None


def pattern(value: Any) -> str | None:
    """Accept a regular expression that does not match the empty string."""
    try:
        if not re.fullmatch(value, ""):
            return None
    except (TypeError, OverflowError, re.error) as exc:
        return f"must be a regular expression, not {value!r} ({exc})."
    return f"must not match an empty id, as {value!r} does."


def service_url(value: str) -> str | None:
    """Accept the base URL of an HTTP service; it may hold a password, so it is not shown."""
    if complaint := _no_url(value):
        return complaint
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname:
        return "must be an http or https URL with a host."
    if "@" in url.netloc:
        return "must not hold a user name or password; there is CONFIG_SERVICE_TOKEN."
    if url.query or url.fragment:
        return "must not have a query or fragment: ids are appended to its path."
    return None


def proxy_url(value: Any) -> str | None:
    """Accept the URL of an HTTP proxy; it may hold a password, so it is not shown."""
    if not isinstance(value, str):
        return "must be a string, such as 'http://proxy.example.com:3128'."
    if complaint := _no_url(value):
        return f"{complaint} Percent-encode what is special in a user name or password."
    url = urlsplit(value)
    if url.scheme == "https":
        return (
            "must be an http URL: TLS to the proxy itself is not supported. An https Config Service"
            " is still reached over TLS, through the proxy's tunnel."
        )
    if url.scheme != "http" or not url.hostname:
        return "must be an http URL with a host, such as 'http://proxy.example.com:3128'."
    if url.path not in {"", "/"} or url.query or url.fragment:
        return "must not have a path, query or fragment."
    return None


def stream(value: Any) -> str | None:
    """Accept the path of an event stream, or its URL; its query may be secret: it is not shown."""
    if not isinstance(value, str):
        return "must be a string, such as '/stream'."
    if complaint := _no_url(value):
        return complaint
    url = urlsplit(value)
    if "#" in value:
        return "must not have a fragment."
    if "@" in url.netloc:
        return "must not hold a user name or password; there is CONFIG_SERVICE_TOKEN."
    is_path = value.startswith("/") and not value.startswith("//")
    if is_path or (url.scheme in {"http", "https"} and url.hostname):
        return None
    return "must be a path that begins with one slash, such as '/stream'."


def stream_elsewhere(options: Mapping[str, Any]) -> str | None:
    """Accept options whose stream is where the service is: our token goes to no other host."""
    given, base = options.get("config_service_stream"), options.get("config_service_url")
    if given is None or stream(given) or given.startswith("/"):
        return None
    if isinstance(base, str) and not service_url(base):
        one, other = urlsplit(given), urlsplit(base)
        if (one.scheme, one.netloc.lower()) == (other.scheme, other.netloc.lower()):
            return None
    return "must be on the host of CONFIG_SERVICE_URL: the token is sent along. Name its path."


def _no_url(value: str) -> str | None:
    """Accept what ``urlsplit`` can take apart, to the last character."""
    if " " in value or not value.isprintable():  # it would drop line breaks, and say nothing
        return "must not hold white space or control characters (a line break at its end?)."
    try:
        _ = urlsplit(value).port
    except ValueError:
        return "is not a URL."
    return None


def existing_path(value: Any) -> str | None:
    """Accept the path of something that is there."""
    if isinstance(value, str) and value and Path(value).exists():  # Path("") is here, and exists
        return None
    return f"must be the path of an existing file, not {value!r}."


def client_cert(value: Any) -> str | None:
    """Accept the path of something that is there, or a pair of them."""
    if existing_path(value) is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and not any(map(existing_path, value)):
        return None
    return f"must be an existing file, or a pair (certificate, key) of them, not {value!r}."


def encryption_keys(value: Any) -> str | None:
    """Accept a sequence of keys as the command ``generate_instance_key`` prints them."""
    if not isinstance(value, list | tuple):
        return "must be a list of keys made by 'manage.py generate_instance_key'."
    for index, key in enumerate(value):
        try:
            usable = len(base64.urlsafe_b64decode(key)) == 32
        except (TypeError, ValueError):
            usable = False
        if not usable:
            return f"[{index}] is not a key as 'manage.py generate_instance_key' prints it."
    return None


def webhook_key(secret: str) -> bytes:
    """Return the key in a secret of Standard Webhooks. Raise ``ValueError`` where there is none.

    It is Base64, with or without its padding, and mostly begins with "whsec_".
    """
    text = secret.removeprefix("whsec_").rstrip("=")
    # b64decode drops what else there is, such as "\n" or a letter of another alphabet.
    key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not key:
        raise ValueError("it is empty")
    return key


def webhook_secrets(value: Any) -> str | None:
    """Accept a sequence of secrets of Standard Webhooks."""
    if not isinstance(value, list | tuple):
        return "must be a list of secrets, such as ['whsec_…']."
    for index, secret in enumerate(value):
        try:
            usable = isinstance(secret, str) and webhook_key(secret) != b""
        except ValueError:
            usable = False
        if not usable:
            return f"[{index}] is no secret of Standard Webhooks: 'whsec_' and Base64."
    return None


def is_callable(value: Any) -> str | None:
    """Accept a callable or the dotted path of one."""
    target, complaint = imported(value)
    if complaint is None and not callable(target):
        return f"must be callable, not {value!r}."
    return complaint


def frozen_subclass(path: str) -> Complain:
    """Accept a frozen subclass of the class at ``path``, or the dotted path of one."""

    def complain(value: Any) -> str | None:
        target, complaint = imported(value)
        if complaint is not None:
            return complaint
        base: type[msgspec.Struct] = import_string(path)
        if not (isinstance(target, type) and issubclass(target, base)):
            return f"must be {base.__name__} or a subclass of it, not {value!r}."
        if not target.__struct_config__.frozen:
            return f"must stay frozen, since all requests share its objects; {value!r} is not."
        return None

    return complain


def has(*methods: str) -> Complain:
    """Accept an object with these methods, or the dotted path of one."""

    def complain(value: Any) -> str | None:
        target, complaint = imported(value)
        if complaint is None and not all(callable(getattr(target, name, None)) for name in methods):
            return f"must have the method {' and '.join(methods)}; {value!r} has not."
        return complaint

    return complain


def each(inner: Complain) -> Complain:
    """Accept a list or tuple of what ``inner`` accepts."""

    def complain(value: Any) -> str | None:
        if not isinstance(value, list | tuple):
            return f"must be a list, not {value!r}."
        found = (f"[{at}] {problem}" for at, item in enumerate(value) if (problem := inner(item)))
        return next(found, None)

    return complain


def imported(value: Any) -> tuple[Any, str | None]:
    """Return what a dotted path stands for, or why it cannot be imported."""
    if not isinstance(value, str):
        return value, None
    try:
        return import_string(value), None
    except (ImportError, TypeError, ValueError) as exc:  # the last two for ".x" and "..x.y"
        return None, f"is {value!r}, which cannot be imported: {exc}."
