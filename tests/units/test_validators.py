from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from instance_lookup.conf import validators as is_valid
from instance_lookup.types import InstanceConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FERNET_KEY = "A" * 43 + "="
HERE = __file__
is_config = is_valid.frozen_subclass("instance_lookup.types.InstanceConfig")
SECRET_VALUE = Annotated[is_valid.HeaderValue | None, is_valid.SECRET]


class Studio(InstanceConfig, frozen=True):
    pass


class Thawed(InstanceConfig, frozen=False):  # type: ignore[misc]  # that is the point
    pass


def of(hint: Any) -> Callable[[Any], str | None]:
    """Return the check that msgspec makes of a type."""
    return partial(is_valid.complain, hint=hint)


GOOD: list[tuple[Callable[[Any], str | None], list[Any]]] = [
    (of(is_valid.Text), ["", "a"]),
    (of(is_valid.Flag), [True, False]),
    (of(is_valid.Seconds), [1, 0.1, 1e9]),
    (of(is_valid.Share), [0.01, 0.8, 1]),
    (of(is_valid.Whole), [0, 1, 10**9]),
    (of(is_valid.Count), [1, 10**9]),
    (of(is_valid.HeaderName), ["X-Instance-ID", "x", "X!#$%&'*+.^`|~9"]),
    (of(is_valid.HeaderValue), ["token", "a b"]),
    (is_valid.pattern, ["[a-z]+", "a", re.compile("[a-z]+")]),
    (is_valid.existing_path, [HERE]),
    (is_valid.client_cert, [HERE, (HERE, HERE), [HERE, HERE]]),
    (
        is_valid.webhook_secrets,
        [(), [], ["whsec_c2VjcmV0"], ("c2VjcmV0", "whsec_c2Vjcg==", "c2Vjcg")],
    ),
    (is_valid.encryption_keys, [(), [], [FERNET_KEY], (FERNET_KEY.encode(), FERNET_KEY)]),
    (is_valid.service_url, ["https://cs.example.com", "http://[::1]:8000/api/"]),
    (
        is_valid.stream,
        [
            "/stream",
            "/",
            "/a/b?of=all",
            "https://config.example.com/stream",
            "http://[::1]:8001/stream",
        ],
    ),
    (
        is_valid.proxy_url,
        [
            "http://proxy.internal:3128",
            "http://proxy.internal",
            "http://[::1]:3128/",
            "http://me:s3cret@proxy:3128",
            "http://me@proxy:3128",
            "http://me:p%40ss%2F@proxy:3128",
        ],
    ),
    (is_valid.is_callable, [len, "os.path.join"]),
    (is_config, [InstanceConfig, Studio, "instance_lookup.types.InstanceConfig"]),
    (is_valid.has("upper"), ["os.sep", str]),
    (of(is_valid.Count | None), [None, 1]),
    (of(is_valid.Names), [(), ("a", "b"), ("a",)]),
]
BAD: list[tuple[Callable[[Any], str | None], list[Any], str]] = [
    (of(is_valid.Text), [None, 5, b"a"], "must be a string, not "),
    (of(is_valid.Flag), ["False", 0, 1, None], "must be True or False, not "),
    (
        of(is_valid.Seconds),
        [0, -1, True, "5", "\udc80", None, math.nan, math.inf, Decimal(5)],
        "must be a positive number",
    ),
    (of(is_valid.Whole), [-1, 1.0, True, "1", None], "must be 0 or a positive integer"),
    (of(is_valid.Share), [0, -1, 1.01, True, "1", None, math.nan], "must be a number above 0"),
    (of(is_valid.Count), [0, -1, True, 1.0, "5", None], "must be a positive integer, not "),
    (
        of(is_valid.HeaderName),
        ["", "X Y", "X:Y", "X_Y", "X\n", "é", None, b"X"],
        "must be the name of an HTTP header, such as 'X-My-Header', not ",
    ),
    (
        of(is_valid.HeaderValue),
        ["", " ", "a\n", "a\rX: y", "é", "\0", None, b"a"],
        "printable ASCII",
    ),
    (
        is_valid.pattern,
        ["(", "*", 5, None, b"a", "a{99999999999999999999}"],
        "must be a regular expression, not ",
    ),
    (is_valid.pattern, ["", ".*", "a?", re.compile("a*")], "must not match an empty id, as "),
    (is_valid.existing_path, ["", "/nowhere/at/all", 5, None], "must be the path of an existing"),
    (is_valid.client_cert, ["/nowhere", (HERE,), (HERE, "/no"), 5], "must be an existing file"),
    (is_valid.encryption_keys, ["key", None, 5], "must be a list of keys"),
    (
        is_valid.encryption_keys,
        [["short"], ["é"], [5], [None], [""], ["A"]],
        "[0] is not a key as 'manage.py generate_instance_key' prints it.",
    ),
    (is_valid.webhook_secrets, ["whsec_c2VjcmV0", None, 5, {}], "must be a list of secrets"),
    (
        is_valid.webhook_secrets,
        [
            ["whsec_"],
            [""],
            ["whsec_a"],
            ["not base64"],
            ["c2Vjcm\n"],
            ["é"],
            [b"c2Vj"],
            [None],
            ["_-"],
        ],
        "[0] is no secret of Standard Webhooks: 'whsec_' and Base64.",
    ),
    (is_valid.service_url, ["", "cs.example.com", "ftp://cs", "http://"], "must be an http or "),
    (is_valid.service_url, ["http://[::1", "http://cs:port", "http://cs:99999"], "is not a URL"),
    (is_valid.service_url, ["http://me:s3cret@cs"], "must not hold a user name or password"),
    (is_valid.service_url, ["http://cs/?key=s3cret", "http://cs/#x"], "must not have a query"),
    (
        is_valid.service_url,
        [
            "http://cs ",
            " http://cs",
            "http://cs\n",
            "http://c\ts",
            "http://cs/a b",
            "http://cs\r\nX: y",
            "\ufeffhttp://cs",
            "http://cs\xa0",
            "http://cs\u200b",
            "http://cs\x00",
        ],
        "must not hold white space or control characters (a line break at its end?).",
    ),
    (is_valid.stream, [5, b"/stream", ("/stream",), True], "must be a string, such as '/stream'"),
    (is_valid.stream, ["/str eam", "/stream\n", "http://a/\t"], "must not hold white space"),
    (is_valid.stream, ["http://[::1/stream", "http://a:port/"], "is not a URL"),
    (is_valid.stream, ["/stream#", "/stream#top"], "must not have a fragment"),
    (is_valid.stream, ["https://me:s3cret@a/stream"], "must not hold a user name"),
    (
        is_valid.stream,
        ["", "stream", "//a/stream", "ftp://a/stream", "http:///stream", "me:s3cret@a/stream"],
        "must be a path that begins with one slash",
    ),
    (is_valid.proxy_url, [None, 5, b"http://p", ("http://p",)], "must be a string, such as "),
    (
        is_valid.proxy_url,
        ["", "p:3128", "//p:3128", "socks5://p", "http://"],
        "must be an http URL",
    ),
    (
        is_valid.proxy_url,
        ["https://p:3128", "HTTPS://p"],
        "TLS to the proxy itself is not supported",
    ),
    (
        is_valid.proxy_url,
        ["http://me:s3/cret@p", "http://p:0x1", "http://[::1"],
        "is not a URL. Per",
    ),
    (is_valid.proxy_url, ["http://p/x", "http://p?x=1", "http://p#x"], "must not have a path"),
    (is_valid.proxy_url, ["http://p\n", "http://me:s3 cret@p"], "must not hold white space"),
    (is_valid.is_callable, [5, None, "os.sep"], "must be callable, not "),
    (is_config, [dict, "os.sep", None, InstanceConfig(instance_id="a")], "must be I"),
    (is_config, [Thawed], "must stay frozen"),
    (is_valid.has("identify"), [5, "os.sep", str], "must have the method identify; "),
    (is_valid.has("upper", "nope"), ["os.sep"], "must have the method upper and nope; "),
    (of(is_valid.Count | None), [0], "must be a positive integer"),
    (of(is_valid.Names), ["admin", None, {"a"}], "must be a list of strings, not "),
    (of(is_valid.Names), [["a", 5, 6]], "must be a list of strings, not ['a', 5, 6]."),
    (is_valid.each(is_valid.has("upper")), ["a", None, {"a"}], "must be a list, not "),
    (is_valid.each(is_valid.has("upper")), [["os.sep", 5]], "[1] must have the method upper; 5"),
]
IMPORTING = [is_valid.is_callable, is_config, is_valid.has("x")]


def flat(rows: list[Any]) -> list[Any]:
    return [(row[0], value, *row[2:]) for row in rows for value in row[1]]


@pytest.mark.parametrize(("complain", "value"), flat(GOOD))
def test_good_value(complain: Callable[[Any], str | None], value: Any) -> None:
    """A value that will work is not complained about."""
    assert complain(value) is None


@pytest.mark.parametrize(("complain", "value", "sentence"), flat(BAD))
def test_bad_value(complain: Callable[[Any], str | None], value: Any, sentence: str) -> None:
    """A bad value gets a sentence that says what is expected."""
    complaint = complain(value)
    assert complaint is not None
    assert sentence in complaint
    assert complaint.endswith(".")


@pytest.mark.parametrize("complain", IMPORTING)
@pytest.mark.parametrize(
    "path", ["nowhere.Thing", "os.nothing", "os", "", ".x", "..x.y", "a..b", "a b.c", "\0.x"]
)
def test_path_that_cannot_be_imported(complain: Callable[[Any], str | None], path: str) -> None:
    """A typo in a dotted path is reported with that path, for any import error."""
    complaint = complain(path)
    assert complaint is not None
    assert complaint.startswith(f"is {path!r}, which cannot be imported: ")


@pytest.mark.parametrize(
    ("complain", "value"),
    [
        (is_valid.webhook_secrets, ["s3cret!"]),
        (is_valid.webhook_secrets, "s3cret"),
        (is_valid.encryption_keys, ["s3cret"]),
        (is_valid.encryption_keys, "s3cret"),
        (is_valid.encryption_keys, [FERNET_KEY, "s3cret"]),
        (of(SECRET_VALUE), "s3cret\n"),
        (of(SECRET_VALUE), b"s3cret"),
        (is_valid.service_url, "http://me:s3cret@cs"),
        (is_valid.service_url, "http://me:s3cret@cs:port"),
        (is_valid.service_url, "http://me:s3cret@cs\n"),
        (is_valid.stream, "me:s3cret@a/stream"),
        (is_valid.stream, "https://me:s3cret@a/stream"),
        (is_valid.stream, "stream?token=s3cret"),
        (is_valid.proxy_url, "https://me:s3cret@p"),
        (is_valid.proxy_url, "http://me:s3cret@p:port"),
        (is_valid.proxy_url, "http://me:s3cret@p/x"),
        (is_valid.proxy_url, "http://me:s3cret @p"),
        (is_valid.proxy_url, b"http://me:s3cret@p"),
    ],
)
def test_complaint_shows_no_secret(complain: Callable[[Any], str | None], value: Any) -> None:
    """A complaint about a secret does not show it, since checks are printed in build logs."""
    complaint = complain(value)
    assert complaint is not None
    assert "s3cret" not in complaint


def test_pair_of_certificate_and_key(tmp_path: Path) -> None:
    """A pair of certificate and key needs both files."""
    certificate = tmp_path / "client.pem"
    certificate.touch()
    pair = (str(certificate), str(tmp_path / "client.key"))
    assert is_valid.client_cert(pair) is not None
    (tmp_path / "client.key").touch()
    assert is_valid.client_cert(pair) is None
