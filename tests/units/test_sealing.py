"""What a writer to the cache may do to sealed text: none of it opens again."""

from __future__ import annotations

import base64
import hmac
import zlib
from base64 import b64encode
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.cache import caches
from django.test import override_settings

from instance_lookup.cache import encryption
from instance_lookup.cache.codec import Codec, is_former, new_encryption_key
from instance_lookup.cache.encryption import Encryption
from instance_lookup.conf import build_settings
from instance_lookup.frozen import hide
from tests.support.caches import use_cache
from tests.support.secrets import key_bytes, leaks

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

KEY = "instance_config:acme"
UNDER = "g0123456789abcdef.gfedcba9876543210."
BODY = b'{"instance_id": "acme", "api_keys": {"a": "sk-SECRET"}}'
OLD, NEW = new_encryption_key(), new_encryption_key()
REFUSED = "not sealed with ENCRYPTION_KEYS"


def test_error_of_the_library_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library lacks a cipher, no local variable of ours shows a key to a tracker."""

    def lacking(key: bytes) -> None:
        raise UnsupportedAlgorithm("no AES-GCM here")

    monkeypatch.setattr(encryption, "AESGCM", lacking)
    with pytest.raises(UnsupportedAlgorithm) as caught:
        Encryption([hide(base64.urlsafe_b64encode(key_bytes("encryption key")).decode())])
    ours = [
        frame.f_locals
        for frame, _ in walk_tb(caught.value.__traceback__)
        if frame.f_code.co_filename == encryption.__file__
    ]
    assert "<32 bytes, not shown>" in repr(ours)
    assert leaks(repr(ours)) == []


def codec(*keys: str, **options: Any) -> Codec:
    return Codec(build_settings({"encryption_keys": keys or (NEW,), **options}))


def sealed(body: bytes = BODY, **options: Any) -> str:
    text = codec(**options).encode(body, KEY, UNDER)
    assert isinstance(text, str)
    return text


def opens(text: str | bytes, key: str = KEY) -> bool:
    try:
        return codec().decode(text, key) == BODY
    except ValueError:
        return False


@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 1, len(BODY) + 2])
def test_no_bit_may_change(length: int) -> None:
    """Text in which one bit was changed, at any place, does not open: in the padding neither."""
    body = BODY.ljust(length)
    text = sealed(body)
    assert codec().decode(text, KEY) == body
    for place in range(len(text)):
        for bit in range(7):
            changed = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
            with pytest.raises(ValueError):  # noqa: PT011  # several, all without a value in them
                codec().decode(changed, KEY)


@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 1])
def test_no_bit_of_bytes_may_change(redis_server: RedisServer, length: int) -> None:
    """The same of what is stored as bytes, on Redis; cut off at any place it does not open."""
    with use_cache("redis", redis_url=redis_server.url()) as alias:
        reader, body = codec(cache_alias=alias), BODY.ljust(length)
        stored = reader.encode(body, KEY, UNDER)
        assert isinstance(stored, bytes)
        assert reader.decode(stored, KEY) == body
        changes = [
            stored[:place] + bytes([stored[place] ^ 1 << bit]) + stored[place + 1 :]
            for place in range(len(stored))
            for bit in range(8)
        ]
        cut = [stored[:end] for end in range(len(stored))]
        other_form = stored.replace(b"gcm1b", b"gcm1t"), stored.decode("latin-1")
        for changed in [*changes, *cut, stored + b"\0", *other_form]:
            with pytest.raises(ValueError):  # noqa: PT011  # several, all without a value in them
                reader.decode(changed, KEY)


def test_nothing_may_be_missing_or_more() -> None:
    """Text that is cut off at any length, or has something more, does not open."""
    text = sealed()
    assert opens(text)
    assert opens(text.encode())
    assert not any(opens(text[:end]) for end in range(len(text)))
    assert not any(opens(text[start:]) for start in range(1, len(text) + 1))
    assert not opens(f"{text[:90]}\n{text[90:]}")
    assert not any(opens(text + more) for more in (" ", "\n", "=", "A", "AAAA", "é"))


@pytest.mark.parametrize(
    "key", ["instance_config:other", "instance_project:acme", "instance_config:acm", ""]
)
def test_opens_at_its_own_key_only(key: str) -> None:
    """What is copied to the key of another id or of the other kind does not open there."""
    assert not opens(sealed(), key)


@pytest.mark.parametrize("changed", [{"KEY_PREFIX": "other"}, {"VERSION": 2}])
def test_opens_under_its_own_prefix_only(changed: dict[str, Any]) -> None:
    """What is copied from a site with the same keys and another KEY_PREFIX does not open."""
    text = sealed()
    backend = "django.core.cache.backends.locmem.LocMemCache"
    with override_settings(CACHES={"default": {"BACKEND": backend, **changed}}):
        assert not opens(text)
        assert opens(sealed())
        assert caches["default"].make_key(KEY) != f":1:{KEY}"


def test_generation_is_part_of_it() -> None:
    """The generation that stands before the sealed text cannot be changed to another one."""
    text = sealed()
    assert text.startswith(f"gcm1t:{UNDER}:")
    assert not opens(text.replace(UNDER, UNDER.replace("g0", "g1")))
    assert not opens(text.replace(UNDER, ""))


def test_same_text_is_sealed_differently_each_time() -> None:
    """Two values are not seen to be the same, and none shows what is in it."""
    first, second = sealed(), sealed()
    assert first != second
    assert "SECRET" not in first
    assert b64encode(BODY)[:20].decode() not in first


def test_keys_in_turn() -> None:
    """The first key seals, all open, and what a removed key sealed is refused."""
    before = codec(OLD).encode(BODY, KEY, UNDER)
    assert codec(NEW, OLD).decode(before, KEY) == BODY
    between = codec(NEW, OLD).encode(BODY, KEY, UNDER)
    assert codec(NEW).decode(between, KEY) == BODY
    for text, keys in (before, [NEW]), (between, [OLD]):
        with pytest.raises(ValueError, match=REFUSED):
            codec(*keys).decode(text, KEY)


def test_generations_have_a_key_of_their_own() -> None:
    """A tag is of 128 bits, of its text alone, and each key's own; it is told which key made it."""
    one, other = Encryption([OLD]), Encryption([NEW])
    tag = one.tag(b"text")
    assert len(tag) == 32
    assert one.key_of(tag, b"text") == 0
    assert Encryption([NEW, OLD]).key_of(tag, b"text") == 1
    assert one.key_of(tag, b"other") is None
    assert other.key_of(tag, b"text") is None
    for wrong in ("", tag[:-1], tag[::-1], f"{tag}0", tag.upper(), "é" * 32):
        assert one.key_of(wrong, b"text") is None


def derived(use: bytes) -> bytes:
    """Return what RFC 5869 makes of a key, by another library."""
    extracted = hmac.digest(bytes(32), base64.urlsafe_b64decode(NEW), "sha256")
    return hmac.digest(extracted, b"instance_lookup 1 " + use + b"\1", "sha256")


def test_form_is_the_one_that_releases_share() -> None:
    """Values and tags are made as docs/explanation/security.md says: other releases read them."""
    text, place = sealed(), caches["default"].make_key(KEY).encode()
    head, _, data = text.rpartition(":")
    raw = base64.b64decode(data)
    aad = f"{head}:".encode() + place
    assert AESGCM(derived(b"entries")).decrypt(raw[:12], raw[12:], aad) == BODY
    tag = hmac.digest(derived(b"generations"), b"text", "sha256").hex()[:32]
    assert Encryption([NEW]).tag(b"text") == tag


def test_compressed_before_it_is_sealed() -> None:
    """Compressed bytes are sealed as they are: base64 is paid for once."""
    body = b'{"a": "%s"}' % (b"x" * 9_000 + new_encryption_key().encode() * 5)
    packed = sealed(body, compress_above=100)
    assert codec().decode(packed, KEY) == body
    assert len(packed) < len(zlib.compress(body)) * 4 / 3 + 150


@pytest.mark.parametrize("size", [10**6 + 65_536, 10**6 + 65_537, 50 * 2**20])
def test_bomb_inside_the_seal(size: int) -> None:
    """What is sealed is decompressed up to the largest allowed size, and no further."""
    reader = codec(config_service_max_bytes=10**6)
    bomb = Codec(build_settings({"encryption_keys": [NEW], "compress_above": 1}))
    text = bomb.encode(b"\0" * size, KEY)
    if size == 10**6 + 65_536:
        assert len(reader.decode(text, KEY)) == size
    else:
        with pytest.raises(ValueError, match="cut off or too large"):
            reader.decode(text, KEY)


@pytest.mark.parametrize("damage", [slice(0, -4), slice(0, 20), slice(3, None)])
def test_damaged_inside_the_seal(damage: slice) -> None:
    """What was damaged before it was sealed raises the one kind of error, too."""
    encryption = codec().encryption
    assert encryption is not None
    place = caches["default"].make_key(KEY).encode()
    packed = b"z:" + zlib.compress(BODY)[damage]
    text = b"gcm1b::" + encryption.seal(packed, b"gcm1b::" + place)
    with pytest.raises(ValueError, match="compressed entry"):
        codec().decode(text, KEY)


@pytest.mark.parametrize("packed", [BODY, b"z:" + b64encode(zlib.compress(BODY))])
@pytest.mark.parametrize("as_read", [str, str.encode])
def test_release_before(packed: bytes, as_read: Any) -> None:
    """What the release before encrypted by Fernet is read, compressed or not; none is written."""
    text = Fernet(NEW).encrypt(packed).decode()
    assert is_former(as_read(text))
    assert codec(OLD, NEW).decode(as_read(text), KEY) == BODY
    assert not is_former(codec().encode(packed, KEY))
    with pytest.raises(ValueError, match=REFUSED):
        codec(OLD).decode(as_read(text), KEY)
    with pytest.raises(ValueError, match=REFUSED):
        codec(NEW).decode(as_read(text[:60] + text[60:].swapcase()), KEY)
