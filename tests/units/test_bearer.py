from __future__ import annotations

import copy
import pickle
import pprint
from traceback import TracebackException
from typing import Any

import pytest
from requests import Request

from instance_lookup import InstanceConfig

KEY = "sk-SECRET-1"


def config(**keys: str) -> InstanceConfig:
    return InstanceConfig(instance_id="acme", api_keys={"render": KEY, **keys})


def request(url: str = "https://worker.example/jobs", auth: Any = None) -> Any:
    return Request("POST", url, auth=auth).prepare()


@pytest.mark.parametrize("key", [KEY, "a", "two words", "~!@#$%^&*()_+"])
def test_bearer_adds_the_key(key: str) -> None:
    """A client that is given the object sends the key."""
    sent = request(auth=config(render=key).bearer("render"))
    assert sent.headers["Authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("show", [repr, str, format, ascii, pprint.pformat, "{}".format])
def test_bearer_shows_no_key(show: Any) -> None:
    """What is shown of the object, and of a request that it was used for, names the key only."""
    bearer = config().bearer("render")
    sent = request(auth=bearer)
    shown = show(bearer)
    assert "the API key 'render' of 'acme'" in shown
    assert "SECRET" not in shown + show(dict(sent.headers)) + show(list(sent.headers.items()))
    encoded = sent.headers["Authorization"].encode("latin-1")
    assert "SECRET" not in show([encoded])
    assert bytes(encoded) == f"Bearer {KEY}".encode()


def test_bearer_without_such_a_key() -> None:
    """The error names the key that was asked for, and shows none of the others."""
    with pytest.raises(KeyError, match=r"^'ideogram'$"):
        config().bearer("ideogram")


@pytest.mark.parametrize("before", ["", " ", "\n", "ä"])
@pytest.mark.parametrize("after", ["", " ", "\r\nX-More: b", "\n", "\x00", "\tb", "\x85", "ä"])
def test_bearer_of_a_key_that_no_header_carries(before: str, after: str) -> None:
    """A key that could end the header, or that a client would change, is refused unshown."""
    with pytest.raises(ValueError, match="API key 'render' of 'acme' cannot be sent") as caught:
        config(render=f"{before}{KEY if after else ''}{after}").bearer("render")
    assert KEY not in str(caught.value)
    # Of the frames all but the first, which is this test's.
    shown = TracebackException.from_exception(caught.value, capture_locals=True)
    assert not any(KEY in repr(frame.locals) for frame in shown.stack[1:])
    assert "repr() failed" not in "".join(shown.format())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bearer_refuses_pickle(protocol: int) -> None:
    """A pickled key is a leaked key."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(config().bearer("render"), protocol)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_what_a_client_holds_has_no_key(protocol: int) -> None:
    """A request, whose answer a project may well keep in a cache, is pickled without the key."""
    sent = request(auth=config().bearer("render"))
    header = sent.headers["Authorization"]
    for each in (sent, header, header.encode()):
        assert b"SECRET" not in pickle.dumps(each, protocol)
    kept = pickle.loads(pickle.dumps(sent, protocol))
    assert kept.headers["Authorization"] == "********"


def test_copies_of_a_request_are_sent_with_the_key() -> None:
    """Who sends a copy of a request sends the key."""
    sent = request(auth=config().bearer("render"))
    value, header = f"Bearer {KEY}", sent.headers["Authorization"]
    for duplicate in (copy.copy, copy.deepcopy):
        assert duplicate(sent).headers["Authorization"] == value
        assert duplicate(header) == value
        assert duplicate(header.encode()) == value.encode()


def test_bearer_copies_are_itself() -> None:
    """Copies would forget where the key goes."""
    bearer = config().bearer("render")
    assert copy.copy(bearer) is bearer
    assert copy.deepcopy([bearer])[0] is bearer


def test_bearer_is_equal_to_itself_only() -> None:
    """Two that were made of equal keys differ: a comparison would tell whether keys are equal."""
    bearer = config().bearer("render")
    assert len({bearer, config().bearer("render"), bearer}) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/jobs",
        "http://worker.example/jobs",
        "https://worker.example:8443/jobs",
        "https://user:pw@worker.example.evil/jobs?sig=1",
    ],
)
def test_bearer_is_for_one_origin(url: str) -> None:
    """An object that a session keeps does not send the key to the next server."""
    bearer = config().bearer("render")
    request(auth=bearer)
    with pytest.raises(ValueError, match=r"goes to https://worker\.example:443 and") as caught:
        request(url, auth=bearer)
    assert "pw" not in str(caught.value)
    assert "sig" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://worker.example:443/a", "HTTPS://Worker.Example/b?c"])
def test_bearer_serves_one_origin_again(url: str) -> None:
    """A second request to the same server, spelled otherwise, has the key as well."""
    bearer = config().bearer("render")
    request(auth=bearer)
    assert "Authorization" in request(url, auth=bearer).headers
