"""The reference Config Service: its stream of changes."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from config_service.process import ServiceAdmin
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.sandbox.service import ADMIN_PASSWORD, Api, fresh_id, start_config_service
from tests.sandbox.test_openapi import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests
    from config_service.process import ServerProcess

BEAT = ": heartbeat"
EVENT = OAS31Validator(
    {"$ref": "#/components/schemas/Event", "components": CONTRACT["components"]},
    format_checker=oas31_format_checker,
)


class Event(NamedTuple):
    id: int
    type: str = ""
    subject_id: str = ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service whose streams have a heartbeat every half second."""
    data_dir = tmp_path_factory.mktemp("stream")
    with start_config_service(data_dir, env={"CONFIG_SERVICE_HEARTBEAT": "0.5"}) as process:
        yield process


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[ServiceAdmin]:
    with ServiceAdmin(server.url, ADMIN_PASSWORD) as session:
        yield session


class Listener:
    """Reads a stream: events and heartbeats, as they come."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        self.bodies: list[Any] = []
        self._lines = answer.iter_lines(chunk_size=1, decode_unicode=True)

    def __iter__(self) -> Iterator[Event | None]:
        return self

    def __next__(self) -> Event | None:
        """Return the next event; ``None`` for a heartbeat."""
        lines = []
        while line := next(self._lines):
            lines.append(line)
        if lines == [BEAT]:
            return None
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        if "data" not in fields:
            return Event(int(fields["id"]))
        body = json.loads(fields["data"])
        self.bodies.append(body)
        [subject_id] = body["data"].values()
        return Event(int(fields["id"]), body["type"], subject_id)

    def change(self) -> Event:
        """Return the next event that is not only a heartbeat."""
        return next(event for event in self if event is not None)


@contextmanager
def listening(server: ServerProcess, **headers: str | None) -> Iterator[Listener]:
    with Api(server.url) as api:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{server.url}/stream"
        with api.get(url, headers=named, stream=True, timeout=20) as answer:
            assert answer.status_code == 200
            yield Listener(answer)


def test_stream_begins_now_and_says_where(server: ServerProcess, admin: ServiceAdmin) -> None:
    """Without Last-Event-ID nothing old comes; the first id is one to come back with."""
    name = fresh_id()
    with listening(server) as listener:
        begun = listener.change()
        admin.set(f"instance/{name}", owner="7")
        admin.set(f"instance/{name}", owner="8")
        first, second = listener.change(), listener.change()

    assert listener.answer.headers["Content-Type"] == "text/event-stream"
    assert [EVENT.is_valid(body) for body in listener.bodies] == [True, True]
    assert "no-store" in listener.answer.headers["Cache-Control"]
    assert begun == Event(first.id - 1)
    assert first == (begun.id + 1, "instance.updated", name)
    assert second == (begun.id + 2, "instance.revoked", name)


def test_stream_goes_on_after_the_last_event(server: ServerProcess, admin: ServiceAdmin) -> None:
    """A listener that comes back gets what it has missed, once, and then what is new."""
    names = [fresh_id() for _ in range(4)]
    with listening(server) as listener:
        admin.set(f"instance/{names[0]}")
        listener.change()
        seen = listener.change()
    for name in names[1:3]:
        admin.set(f"instance/{name}")
    with listening(server, Last_Event_ID=str(seen.id)) as listener:
        listener.change()
        missed = [listener.change() for _ in range(2)]
        admin.set(f"instance/{names[3]}")
        new = listener.change()

    assert [each.subject_id for each in (seen, *missed, new)] == names
    assert [each.id for each in (*missed, new)] == [seen.id + 1, seen.id + 2, seen.id + 3]


def test_stream_has_all_that_was_missed(server: ServerProcess, admin: ServiceAdmin) -> None:
    """More than one page of changes comes whole."""
    name = fresh_id()
    for number in range(101):
        admin.set(f"instance/{name}", owner="7", description=str(number))
    with listening(server) as listener:
        newest = listener.change().id
    with listening(server, Last_Event_ID=str(newest - 101)) as listener:
        listener.change()
        got = [listener.change() for _ in range(101)]

    assert [each.id for each in got] == list(range(newest - 100, newest + 1))


@pytest.mark.parametrize("value", ["", "none", "-1", "1.5", "٣", "9" * 18, "9" * 40])
def test_stream_after_an_unknown_event_begins_now(server: ServerProcess, value: str) -> None:
    """An id of another database, or of none, is no error: there is nothing to go on from."""
    with listening(server) as listener:
        now = listener.change()
    with listening(server, Last_Event_ID=value.encode()) as listener:  # type: ignore[arg-type]
        assert listener.change() == now
        assert next(listener) is None


def test_listeners_hold_up_nobody(server: ServerProcess, admin: ServiceAdmin) -> None:
    """Thirty listeners all get a change, and the API answers beside them."""
    name = fresh_id()
    with ExitStack() as stack, Api(server.url) as api:
        listeners = [stack.enter_context(listening(server)) for _ in range(30)]
        for each in listeners:
            each.change()
        admin.set(f"instance/{name}")
        assert api.ask(f"/instances/{name}").status_code == 200
        assert {each.change().subject_id for each in listeners} == {name}


def test_stream_ends_when_the_service_is_switched_down(
    server: ServerProcess, admin: ServiceAdmin
) -> None:
    """A service that is down has no stream either, not even one that was open."""
    try:
        with listening(server) as listener:
            listener.change()
            admin.switch(down=True)
            assert all(event is None for event in listener)
        with Api(server.url) as api:
            assert api.ask("/stream").status_code == 503
    finally:
        admin.switch()


@pytest.mark.parametrize(
    ("path", "method", "token", "status"),
    [
        ("/stream", "GET", None, 401),
        ("/stream", "GET", "Bearer wrong", 401),
        ("/stream", "POST", "right", 405),
        ("/stream/x", "GET", "right", 404),
        ("/stream/", "GET", "right", 404),
    ],
)
def test_stream_is_behind_what_guards_the_api(
    server: ServerProcess, path: str, method: str, token: str | None, status: int
) -> None:
    """The token is asked for, other methods and paths are refused as everywhere."""
    with Api(server.url) as api:
        headers = {} if token == "right" else {"Authorization": token}
        answer = api.ask(path, method, **headers)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_head_of_the_stream_ends(server: ServerProcess) -> None:
    """HEAD has the headers of a stream and no body."""
    with Api(server.url) as api:
        answer = api.ask("/stream", "HEAD")

    assert answer.headers["Content-Type"] == "text/event-stream"
