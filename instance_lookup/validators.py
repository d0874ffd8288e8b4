"""What is wrong with the value of a setting: a sentence, or ``None`` when nothing is.

No sentence ever contains the value of a secret.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from instance_lookup.types import InstanceConfig

Complain = Callable[[Any], str | None]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""


def text(value: Any) -> str | None:
    """Accept any string."""
    return None if isinstance(value, str) else f"must be a string, not {value!r}."


def boolean(value: Any) -> str | None:
    """Accept True and False only: ``"False"`` would be true."""
    return None if isinstance(value, bool) else f"must be True or False, not {value!r}."


def seconds(value: Any) -> str | None:
    """Accept positive, finite numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return None
    return f"must be a positive number of seconds, not {value!r}."


def share(value: Any) -> str | None:
    """Accept what is more than nothing and at most all."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return None
    return f"must be a number above 0 and at most 1, not {value!r}."


def count(value: Any) -> str | None:
    """Accept positive integers."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return None
    return f"must be a positive integer, not {value!r}."


def whole(value: Any) -> str | None:
    """Accept 0 and positive integers."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return None
    return f"must be 0 or a positive integer, not {value!r}."


def header_name(value: Any) -> str | None:
    """Accept what HTTP accepts as the name of a header."""
    if isinstance(value, str) and _TOKEN.fullmatch(value) and "_" not in value:
        return None
    return f"must be the name of an HTTP header, such as 'X-Instance-ID', not {value!r}."


def header_value(value: Any) -> str | None:
    """Accept a non-blank string that fits into a header; it may be secret, so it is not shown."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and value.strip():
        return None
    return "must be a non-empty string of printable ASCII characters."


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
    """Accept None, one path, or a pair of them."""
    if value is None or existing_path(value) is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and not any(map(existing_path, value)):
        return None
    return f"must be an existing file, or a pair (certificate, key) of them, not {value!r}."


def fernet_keys(value: Any) -> str | None:
    """Accept a sequence of keys as ``Fernet.generate_key()`` makes them."""
    if not isinstance(value, list | tuple):
        return "must be a list of keys made by Fernet.generate_key()."
    for index, key in enumerate(value):
        try:
            usable = len(base64.urlsafe_b64decode(key)) == 32
        except (TypeError, ValueError, binascii.Error):
            usable = False
        if not usable:
            return f"[{index}] is not a key as Fernet.generate_key() makes them."
    return None


def is_callable(value: Any) -> str | None:
    """Accept a callable or the dotted path of one."""
    target, complaint = imported(value)
    if complaint is None and not callable(target):
        return f"must be callable, not {value!r}."
    return complaint


def config_class(value: Any) -> str | None:
    """Accept a subclass of InstanceConfig or the dotted path of one."""
    target, complaint = imported(value)
    if complaint is not None:
        return complaint
    if not (isinstance(target, type) and issubclass(target, InstanceConfig)):
        return f"must be InstanceConfig or a subclass of it, not {value!r}."
    if not target.__struct_config__.frozen:
        return f"must stay frozen, since all requests share its objects; {value!r} is not."
    return None


def has(*methods: str) -> Complain:
    """Accept an object with these methods, or the dotted path of one."""

    def complain(value: Any) -> str | None:
        target, complaint = imported(value)
        if complaint is None and not all(callable(getattr(target, name, None)) for name in methods):
            return f"must have the method {' and '.join(methods)}; {value!r} has not."
        return complaint

    return complain


def optional(inner: Complain) -> Complain:
    """Accept None too."""
    return lambda value: None if value is None else inner(value)


def each(inner: Complain) -> Complain:
    """Accept a list or tuple of what ``inner`` accepts."""

    def complain(value: Any) -> str | None:
        if not isinstance(value, list | tuple):
            return f"must be a list, not {value!r}."
        complaints = (
            f"[{index}] {complaint}"
            for index, item in enumerate(value)
            if (complaint := inner(item))
        )
        return next(complaints, None)

    return complain


def imported(value: Any) -> tuple[Any, str | None]:
    """Return what a dotted path stands for, or why it cannot be imported."""
    if not isinstance(value, str):
        return value, None
    try:
        return import_string(value), None
    except (ImportError, TypeError, ValueError) as exc:  # the last two for ".x" and "..x.y"
        return None, f"is {value!r}, which cannot be imported: {exc}."
