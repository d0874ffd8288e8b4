"""What is fuzzed. A target takes any bytes, and fails where something that has to hold does not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from django.core.cache import caches
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory

from instance_lookup.backends.answers import (
    MAX_RETRY_AFTER,
    Reply,
    Subject,
    decode_page,
    is_from_service,
    retry_after,
    verdict,
)
from instance_lookup.cache.entry import Rejected, pack, read_document, unpack
from instance_lookup.cache.instance_cache import InstanceCache
from instance_lookup.cache.kinds import PROJECT, instance_kind
from instance_lookup.conf import Settings, build_settings, get_settings
from instance_lookup.context import LookupContext
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceLookupError, InvalidContext
from instance_lookup.identifiers import (
    HeaderIdentifier,
    PathIdentifier,
    ProjectIdentifier,
    SubdomainIdentifier,
    UserDefaultIdentifier,
    id_of,
)
from instance_lookup.push import stream_parser
from instance_lookup.push.changes import parse
from instance_lookup.push.signature import NotSigned, verify
from instance_lookup.resolution.selection import Selector
from instance_lookup.types import InstanceConfig
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.cache.kinds import Kind

INSTANCE = instance_kind(InstanceConfig)
NOW = 1_800_000_000.0
WEBHOOK_SECRET = "whsec_bm90IGEgc2VjcmV0OiBpdCBzdGFuZHMgaW4gdGhlIHNvdXJjZXM="
CHANGES = {("instance", True), ("instance", False), ("project", False)}
SEPARATOR = b"\0"
"""Between the parts of an input, for targets that take several."""


def document(data: bytes) -> None:
    """Check that a document of the service is refused, or comes out of an entry as it went in."""
    kinds: tuple[Kind[Any], ...] = (INSTANCE, PROJECT)
    for kind in kinds:
        try:
            accepted = read_document(kind, "acme", data)
        except Rejected:
            continue
        entry: Any = pack(
            kind, "acme", accepted.body, generation=None, cached_at=NOW, ttl=300, etag=None
        )
        assert unpack(kind, "acme", entry).document == accepted.document
        assert getattr(accepted.document, kind.id_field) == "acme"


class _Entries:
    """A cache whose four keys of an instance hold what the input says."""

    KEYS = (
        *("instance_config:acme", "instance_generation"),
        *("instance_generation:acme", "instance_expiry:acme"),
    )
    ENCRYPTION_KEY = "6J1kCw8eS0o8cW3pO0T1l2m3n4b5v6c7x8z9a0s1d2E="

    def __init__(self) -> None:
        # An age without a limit: the entries of the corpus do not grow too old.
        self.open, self.sealed = (
            InstanceCache.from_settings(build_settings({"stale_max_age": 1e300, **options}))
            for options in ({}, {"encryption_keys": [self.ENCRYPTION_KEY]})
        )

    def __call__(self, data: bytes) -> None:
        """Check that an entry is absent, or of the instance that was asked for.

        With a key it is absent: the input was not sealed with it.
        """
        values = data.split(SEPARATOR, 3)
        for key, value in zip(self.KEYS, values + [b""] * 4, strict=False):
            if value:
                caches["default"].set(key, value.decode() if value.isascii() else value)
            else:
                caches["default"].delete(key)
        entry = self.open.get("acme", allow_stale=True)
        assert entry is None or entry.config.instance_id == "acme"
        assert self.sealed.get("acme", allow_stale=True) is None


def answer(data: bytes) -> None:
    """Check that any answer of the service means something, and how long it asks to wait."""
    status, kind, wait, body = (*data.split(SEPARATOR, 3), b"", b"", b"", b"")[:4]
    number = int.from_bytes(status[:2]) % 1000
    headers = {"Content-Type": kind.decode("latin-1"), "Retry-After": wait.decode("latin-1")}
    ours = is_from_service(headers["Content-Type"], body)
    reply = Reply(number, headers, body, is_from_service=ours)
    for ids in ({"instance_id": "acme"}, {}):
        error: InstanceLookupError = verdict(reply, Subject("it", ids, "The service"))
        assert isinstance(error, ConfigServiceUnavailable) or number in {403, 404, 410}
        assert 400 <= error.status_code < 600
    seconds = retry_after(headers["Retry-After"], NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
    page = decode_page(body, "cursor")
    assert page is None or (all(page.instance_ids) and page.next != "cursor")


class _Requests:
    """Every place that may name an instance, with any bytes in each."""

    def __init__(self) -> None:
        self.settings: Settings = get_settings()
        identifiers = (
            *(HeaderIdentifier(), PathIdentifier(), SubdomainIdentifier("example.com")),
            *(ProjectIdentifier(), UserDefaultIdentifier()),
        )
        self.selector = Selector(identifiers, self.settings)

    def __call__(self, data: bytes) -> None:
        """Check that a request names an id that stands in it letter for letter, or is refused."""
        parts = data.split(SEPARATOR, 3)
        header, project, host, default = (
            *(part.decode("latin-1") or None for part in parts),
            *(None, None, None, None),
        )[:4]
        sent = {"X-Instance-ID": header, "X-Project-ID": project, "Host": host}
        request = RequestFactory().get("/", headers={k: v for k, v in sent.items() if v})
        user = LookupUser("7", default_instance_id=default)
        try:
            named = id_of(self.selector.select(LookupContext(user, request=request)))
        except (InvalidContext, DisallowedHost):
            return
        assert self.settings.id_regex.fullmatch(named)
        host_name = (host or "").lower().partition(":")[0].removesuffix(".")
        assert named in {header, project, default, host_name.removesuffix(".example.com")}


def webhook(data: bytes) -> None:
    """Check that no delivery passes unsigned, and that an event names a proper id or is refused."""
    delivery_id, timestamp, signature, body = (*data.split(SEPARATOR, 3), b"", b"", b"", b"")[:4]
    headers = {
        "webhook-id": delivery_id.decode("latin-1"),
        "webhook-timestamp": timestamp.decode("latin-1"),
        "webhook-signature": signature.decode("latin-1"),
    }
    with suppress(NotSigned):
        verify(headers, body, [WEBHOOK_SECRET], NOW)
        raise AssertionError("a delivery that was not signed has passed")
    try:
        change = parse(body)
    except ValueError:
        return
    assert change is None or get_settings().id_regex.fullmatch(change.id)
    assert change is None or (change.kind, change.expires) in CHANGES


def stream(data: bytes) -> None:
    """Check that a stream says the same in whatever pieces it comes, and holds no more than may be.

    The first byte is the size of the pieces. The limits are small, so that inputs reach them.
    """
    size, wire = data[0] + 1 if data else 1, data[1:]
    with patch.multiple(stream_parser, LIMIT=48, _ENDLESS=96):
        whole = _events([wire])
        pieces = _events([wire[at : at + size] for at in range(0, len(wire), size)])
    assert whole == pieces
    assert all(isinstance(each, type) or len(each.data) <= 48 for each in whole)


def _events(chunks: list[bytes]) -> list[Any]:
    """Return the events of a stream, and the error that ends it where there is one."""
    parser, events = stream_parser.Parser(), list[Any]()
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                events.append(event)  # not `extend`: some come before the error
    except stream_parser.Endless:
        events.append(stream_parser.Endless)
    return events


def targets() -> dict[str, Callable[[bytes], None]]:
    """Return the targets by name, ready to be fed."""
    return {
        "answer": answer,
        "document": document,
        "entry": _Entries(),
        "request": _Requests(),
        "stream": stream,
        "webhook": webhook,
    }
