"""The HTTP proxy on the way to the service: its name, its credentials, its refusals."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote_to_bytes, urlsplit

_NO_TUNNEL = re.compile("Tunnel connection failed: ([0-9]{3})")  # how http.client says it


class ProxyRefused(OSError):
    """The proxy answered for itself: 407, or anything but 200 when asked for a tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


def tunnel_failure(exc: Exception) -> Exception:
    """Return why there is no tunnel, given what ``http.client`` raised."""
    refused = _NO_TUNNEL.match(str(exc))
    return ProxyRefused(int(refused[1])) if refused else exc


def address(proxy: str) -> str:
    """Return host and port of a proxy's URL, without its secrets."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def credentials(proxy: str) -> dict[str, str]:
    """Return the user and password of a proxy's URL as a header.

    Encoded as UTF-8 (RFC 7617): ``requests`` uses Latin-1, fails on other characters, and leaves
    out a user without a password.
    """
    user, _, password = urlsplit(proxy).netloc.rpartition("@")[0].partition(":")
    if not user:
        return {}
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}
