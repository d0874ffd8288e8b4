"""No object that an error refers to holds an API key, however the lookup failed."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from urllib3.response import HTTPResponse

from instance_lookup import InstanceConfig, InstanceLookupError, InstanceResolver
from instance_lookup.backends.base import Query
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.resilience.deadline import Deadline
from tests.support.canary import CANARY, places, places_here
from tests.support.lookups import ADA, TWINS, Twin, asks, hooked_caches, hooks
from tests.support.servers import Answer, Script, ScriptedServer, linger, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.backends.base import Document, NotModified

CONFIG = InstanceConfig(instance_id="acme", api_keys={"render": CANARY})
DOCUMENT = {"instance_id": "acme", "api_keys": {"render": CANARY}, "metadata": {"owner": "olga"}}
STATUSES = (204, 304, 401, 403, 404, 410, 429, 500)
SIZE = 262_144


def document(**changed: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changed}).encode()


def answer(body: bytes, status: int = 200, encoding: str = "identity") -> Answer:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return Answer(status, body, headers)


def raw(framing: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + body


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


ANSWERS: dict[str, Script] = {
    **{str(status): answer(document(), status) for status in STATUSES},
    "a 404 that is no JSON": Answer(404, CANARY.encode(), {"Content-Type": "text/html"}),
    "another id": answer(document(instance_id="other")),
    "no JSON": answer(document()[:-1]),
    "no UTF-8": answer(document() + b"\xff"),
    "no object": answer(json.dumps([CANARY]).encode()),
    "a name twice": answer(document()[:-1] + b', "a": 1, "a": 2}'),
    "nested too deeply": answer(
        document()[:-1] + b', "a": ' + b"[" * 99_999 + b"]" * 99_999 + b"}"
    ),
    "a wrong limit": answer(document(rate_limits={"a": {"rpm": "many"}})),
    "a wrong key": answer(document(api_keys={"a": CANARY, "b": 5})),
    "a wrong limit, read leniently": answer(document(features=None, rate_limits={"a": CANARY})),
    "a wrong worker URL": answer(document(worker_urls={"a": CANARY}, r2_bucket=5)),
    "encoded": answer(document(), encoding="gzip"),
    "too big": answer(document(more=" " * SIZE)),
    "too big, in chunks": send(
        raw("Transfer-Encoding: chunked", chunk(document()) + chunk(b" " * SIZE) + chunk(b""))
    ),
    "cut off": send(raw("Content-Length: 2000", document())),
    "cut off in a chunk": send(raw("Transfer-Encoding: chunked", b"7FF\r\n" + document())),
    "a wrong chunk": send(raw("Transfer-Encoding: chunked", chunk(document()) + b"zz\r\n")),
    "slow": linger(raw("Content-Length: 2000", document())),
}


class Lines(logging.Handler):
    """Notes where the canary can be read in lines that are logged, at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        self.places += (places(error) if error else []) + places_here()
        self.places += ["line"] if CANARY in record.getMessage() else []


@pytest.fixture(autouse=True)
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("instance_lookup")
    logger.addHandler(handler)
    with override_settings(CACHES=hooked_caches()):
        yield handler
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def make(server: ScriptedServer) -> Callable[..., InstanceResolver]:
    def make_resolver(**options: Any) -> InstanceResolver:
        server.answers = answer(document())
        defaults = {
            "config_service_url": server.url,
            "config_service_timeout": 1.0,
            "config_service_max_bytes": SIZE,
        }
        return InstanceResolver(**{**defaults, **options})

    return make_resolver


def caught(call: Callable[..., object], *args: Any) -> BaseException | None:
    try:
        call(*args)
    except BaseException as exc:  # noqa: BLE001  # also what would end a thread
        return exc
    return None


def error_of(call: Callable[..., object], *args: Any) -> BaseException:
    error = caught(call, *args)
    assert error is not None
    return error


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_unusable_answer(
    make: Callable[..., InstanceResolver],
    server: ScriptedServer,
    lines: Lines,
    kind: str,
    call: Twin,
) -> None:
    """No key is left in the error or the log, whichever unusable answer the service sends."""
    resolver = make()
    server.answers = ANSWERS[kind]
    error = error_of(call, resolver, "resolve", asks(ADA))
    assert isinstance(error, InstanceLookupError)
    assert (places(error), lines.places) == ([], [])


@pytest.mark.parametrize("kind", ["401", "404", "500", "no JSON", "a wrong key", "cut off", "slow"])
def test_unusable_list(
    make: Callable[..., InstanceResolver], server: ScriptedServer, kind: str
) -> None:
    """A service may put whole documents into its list."""
    resolver = make()
    server.answers = ANSWERS[kind]
    error = error_of(list, resolver.instance_ids())
    assert isinstance(error, InstanceLookupError)
    assert places(error) == []


def interrupt_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the second read of each body end the worker."""
    read = HTTPResponse.read

    def read_some(response: HTTPResponse, *args: Any, **kwargs: Any) -> bytes:
        if response.tell():
            raise SystemExit
        return read(response, *args, **kwargs)

    monkeypatch.setattr(HTTPResponse, "read", read_some)


def test_body_interrupted_in_the_backend(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a read of the body is interrupted, no variable of the backend shows what was read."""
    server.answers = answer(document())
    interrupt_body(monkeypatch)
    query = Query(Deadline.after(5), "r1")
    error = error_of(HttpConfigService(url=server.url).get_instance, "acme", query)
    assert isinstance(error, SystemExit)
    assert places(error) == []


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize(("verb", "asked"), [("resolve", asks(ADA)), ("refresh", "acme")])
def test_body_interrupted(
    make: Callable[..., InstanceResolver],
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    *,
    verb: str,
    asked: object,
    call: Twin,
) -> None:
    """When a worker is ended during a read, no frame of the error holds a key."""
    resolver = make()
    interrupt_body(monkeypatch)
    error = error_of(call, resolver, verb, asked)
    assert isinstance(error, InstanceLookupError)
    assert (places(error), lines.places) == ([], [])


class Particular(InstanceConfig, frozen=True, kw_only=True):
    """Judges before its keys are hidden."""

    def __post_init__(self) -> None:
        raise ValueError(f"not a good key: {self.api_keys}")


class Ending(InstanceConfig, frozen=True, kw_only=True):
    """Ends the process, or would."""

    def __post_init__(self) -> None:
        keys = dict(self.api_keys)
        raise SystemExit(len(keys))


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize("config_class", [Particular, Ending])
def test_config_class_that_raises(
    make: Callable[..., InstanceResolver],
    lines: Lines,
    config_class: type[InstanceConfig],
    call: Twin,
) -> None:
    """An error raised by a CONFIG_CLASS holds no key, in its frames or its message."""
    error = error_of(call, make(config_class=config_class), "resolve", asks(ADA))
    assert isinstance(error, InstanceLookupError)
    assert (places(error), lines.places) == ([], [])


class Unparsed(HttpConfigService):
    def parse(self, kind: str, body: bytes) -> Any:
        text = body.decode()
        raise ValueError(text)


class Unencodable(HttpConfigService):
    def parse(self, kind: str, body: bytes) -> Any:
        return {**json.loads(body), "more": object()}


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize("backend", [Unparsed, Unencodable])
def test_parse_that_raises(
    make: Callable[..., InstanceResolver],
    server: ScriptedServer,
    lines: Lines,
    backend: type[HttpConfigService],
    call: Twin,
) -> None:
    """An override has the document in its hands, and ours make JSON of what it returns."""
    resolver = make(config_service_backend=backend(url=server.url))
    error = error_of(call, resolver, "resolve", asks(ADA))
    assert isinstance(error, InstanceLookupError)
    assert (places(error), lines.places) == ([], [])


class Buggy(DictConfigService):
    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        found: Any = json.loads(super().get_instance(instance_id, query).body)  # type: ignore[union-attr]
        return found["instance"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("call", TWINS)
def test_backend_with_a_bug(lines: Lines, call: Twin) -> None:
    """A bug in a backend is logged with its traceback, without the values of its frames."""
    resolver = InstanceResolver(config_service_backend=Buggy({"acme": DOCUMENT}))
    error = error_of(call, resolver, "resolve", asks(ADA))
    assert isinstance(error, InstanceLookupError)
    assert (places(error), lines.places) == ([], [])


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize("verb", ["get", "get_many", "set", "add", "touch"])
def test_cache_that_fails(
    make: Callable[..., InstanceResolver],
    server: ScriptedServer,
    lines: Lines,
    *,
    verb: str,
    call: Twin,
) -> None:
    """A cache that fails, with an entry or while one is stored, leaves no key in the error."""
    resolver = make()
    call(resolver, "resolve", asks(ADA))
    resolver.cache.expire("acme")

    def fail(this: str, key: str) -> None:
        if this == verb:
            raise OSError("connection lost")

    with hooks(fail):
        server.answers = answer(document(), 500)
        errors = [caught(call, resolver, "resolve", asks(ADA))]
        server.answers = answer(document())
        errors += [
            caught(call, resolver, "refresh", "acme"),
            caught(call, resolver.cache, "get", "acme"),
            caught(call, resolver.cache, "set", "acme", CONFIG),
        ]
    assert [place for error in errors if error for place in places(error)] == []
    assert lines.places == []


@pytest.mark.extras
@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize("verb", ["seal", "open"])
def test_encryption_that_fails(
    make: Callable[..., InstanceResolver],
    server: ScriptedServer,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    *,
    verb: str,
    call: Twin,
) -> None:
    """An error while sealing or opening holds no plain text."""
    from instance_lookup.cache.encryption import Encryption

    resolver = make(encryption_keys=(new_encryption_key(),))
    call(resolver, "resolve", asks(ADA))
    act = getattr(Encryption, verb)

    def fail(encryption: Encryption, data: Any, place: bytes) -> object:
        acted = act(encryption, data, place)
        raise (OSError if verb == "seal" else ValueError)(f"{len(acted)} bytes")

    monkeypatch.setattr(Encryption, verb, fail)
    errors = [
        caught(call, resolver, "refresh", "acme"),
        caught(call, resolver.cache, "get", "acme"),
        caught(call, resolver.cache, "set", "acme", CONFIG),
    ]
    server.answers = answer(document(), 500)
    errors += [caught(call, resolver, "resolve", asks(ADA))]
    assert [place for error in errors if error for place in places(error)] == []
    assert lines.places == []
