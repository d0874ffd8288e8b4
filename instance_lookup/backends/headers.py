"""Headers that HTTP can carry, whatever ids and tags they are made of."""

from __future__ import annotations

import re
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from instance_lookup.backends.base import Query

NOT_VISIBLE_ASCII = re.compile(r"[^\x21-\x7e]")
# RFC 9110, section 8.8.3, without bytes over 127; a long one would earn us a 431 for ever.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')
# All visible ASCII but "%", so that no two values are sent alike.
_value = partial(quote, safe="!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="surrogatepass")


def headers_of(query: Query) -> dict[str, str]:
    """Return the headers that name the user, the request, its trace and the copy that we hold."""
    headers = {name: _value(value) for name, value in query.headers.items()}
    headers["X-Request-ID"] = _value(query.request_id)
    if query.user_id:
        headers["X-User-ID"] = _value(query.user_id)
    if etag := valid_etag(query.etag):
        headers["If-None-Match"] = etag
    return headers


def valid_etag(etag: str | None) -> str | None:
    """Return the tag if it is one that can be sent back."""
    return etag if etag and _ETAG.fullmatch(etag) else None


def version() -> str:
    """Return the version of this package, for ``User-Agent``."""
    try:
        return metadata.version("instance-lookup")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"
