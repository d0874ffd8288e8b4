from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from instance_lookup.testing.servers import Answer, Received, Script, ScriptedServer

if TYPE_CHECKING:
    from instance_lookup.testing.servers import Answers


def statuses(answers: Answers) -> list[int]:
    with ScriptedServer(answers) as server, requests.Session() as session:
        session.trust_env = False
        return [session.get(server.url + path, timeout=5).status_code for path in ("/a", "/b")]


def test_one_answer_for_all() -> None:
    """A server with one answer gives it to each request."""
    assert statuses(Answer(204)) == [204, 204]


def test_answers_by_path() -> None:
    """Answers can be given by path; any other path is a 404."""
    assert statuses({"/a": Answer(204)}) == [204, 404]


def test_answers_by_a_function() -> None:
    """Answers can be given by a function of the request."""

    def answer(request: Received) -> Script:
        return Answer(204 if request.path == "/b" else 500)

    assert statuses(answer) == [500, 204]


def test_connections_are_counted() -> None:
    """The server counts all connections, and those that are still open."""
    with ScriptedServer() as server:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(2):
                session.get(server.url, timeout=5)
            assert (server.connections, server.open_connections) == (1, 1)
        assert [asked.connection for asked in server.received] == [1, 1]
