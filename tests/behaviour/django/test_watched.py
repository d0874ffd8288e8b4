"""Sentry and OpenTelemetry are told of the request that a call, an error or a line belongs to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.extras
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What Sentry and OpenTelemetry saw of alice's request and of bob's, in one process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.watched", request.param],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["statuses"] == [200, 503]
    return found


def events(seen: dict[str, Any], kind: str | None) -> list[dict[str, Any]]:
    return [event for event in seen["events"] if event.get("type") == kind]


def test_error_is_of_the_request_whose_fetch_failed(seen: dict[str, Any]) -> None:
    """Sentry shows the request whose fetch failed, not the one that started the thread."""
    (error,) = (event for event in events(seen, None) if event.get("level") == "error")
    headers = {name.lower(): value for name, value in error["request"]["headers"].items()}
    assert "credential (401)" in str(error["logentry"])
    assert error["request"]["url"].endswith("/bob")
    assert error["request"]["cookies"] == {"who": "bob"}
    assert headers["x-instance-id"] == "bobs"
    assert error["tags"]["who"] == "bob"


def test_error_is_in_the_trace_of_its_request(seen: dict[str, Any]) -> None:
    """Sentry shows it with the request that it broke."""
    (error,) = (event for event in events(seen, None) if event.get("level") == "error")
    traces = {
        event["tags"]["who"]: event["contexts"]["trace"]["trace_id"]
        for event in events(seen, "transaction")
    }
    assert error["contexts"]["trace"]["trace_id"] == traces["bob"] != traces["alice"]


def test_call_of_the_service_is_in_the_transaction_of_its_request(seen: dict[str, Any]) -> None:
    """Each request has its own, and no other."""
    calls = {
        event["tags"]["who"]: [
            span["description"].rpartition("/")[2]
            for span in event["spans"]
            if span["op"] == "http.client"
        ]
        for event in events(seen, "transaction")
    }
    assert calls == {"alice": ["alices"], "bob": ["bobs"]}


def test_span_of_the_service_call_is_in_the_span_of_its_request(seen: dict[str, Any]) -> None:
    """OpenTelemetry knows a request by a context variable, which no thread inherits."""
    assert seen["calls"] == ["alice", "bob"]


def test_service_is_told_the_trace_of_the_request(seen: dict[str, Any]) -> None:
    """The service is sent the trace id of the request."""
    assert seen["told"] == ["alice", "bob"]


def test_threads_keep_nothing_of_the_request_that_started_them(seen: dict[str, Any]) -> None:
    """A user's scope ends with the request, though the threads that it started go on."""
    assert "alice" not in seen["scopes"]
