"""Which keys a cache of Redis or Valkey holds: by SCAN, through the alias's own client.

SCAN looks at a bounded number of keys a call, so that the server serves others in between; KEYS
would stop it for as long as it takes to look at all of them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from django.core.cache import caches

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import is_digest
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.redis_client import client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.cache.backends.base import BaseCache

    from instance_lookup.cache.codec import Codec
    from instance_lookup.cache.kinds import Kind

_BATCH = 500
"""Keys that the server looks at in one call."""


def stored_ids(alias: str, kind: Kind[Any], codec: Codec) -> set[str] | None:
    """Return the ids of which an entry is stored, ``None`` where the cache cannot tell.

    ``alias`` is the cache, ``kind`` tells instances from projects. ``codec`` decodes the entries
    whose key does not show the id.
    """
    names = scan(caches[alias], f"{kind.entry_key}:")
    return None if names is None else {_id_under(name, alias, kind, codec) for name in names}


def _id_under(name: str, alias: str, kind: Kind[Any], codec: Codec) -> str:
    """Return the id of the entry stored under ``name``. A digest is replaced by the id in it."""
    if is_digest(name):
        with suppress(*UNREADABLE):
            key = f"{kind.entry_key}:{name}"
            text = codec.decode(key_values[alias].get(key), key)
            told: str = msgspec.json.decode(text, type=kind.envelope).instance_id
            return told
    return name


def scan(cache: BaseCache, beginning: str) -> Iterator[str] | None:
    """Return the rest of each key of this alias that starts with ``beginning``, in any order.

    A key may come twice, and one that is written or deleted meanwhile may come or not. ``None``
    where the cache cannot tell: it is neither Redis nor Valkey, it is spread over several servers,
    or its ``KEY_FUNCTION`` hides the key. Raises what the backend raises.
    """
    client = client_of(cache)
    mark = uuid4().hex
    head, found, tail = str(cache.make_key(beginning + mark)).partition(mark)
    return _scan(client, head, tail) if client is not None and found else None


def _scan(client: Any, head: str, tail: str) -> Iterator[str]:
    for key in client.scan_iter(f"{_escaped(head)}*{_escaped(tail)}", _BATCH):
        text = key if isinstance(key, str) else key.decode(errors="replace")
        yield text[len(head) : len(text) - len(tail)]


def _escaped(text: str) -> str:
    """Return a pattern that matches ``text`` alone."""
    return re.sub(r"[*?\[\]\\]", r"\\\g<0>", text)
