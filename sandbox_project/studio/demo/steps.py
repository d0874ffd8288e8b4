"""A step of the story: what is done, what it should give, what it gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and what it should be answered."""

    title: str
    do: Callable[[], requests.Response]
    status: int
    source: str = ""
    calls: int = 0
    """How many requests the Config Service should see."""
    body: dict[str, Any] = field(default_factory=dict)
    """Members of the answer; a path such as ``"rate_limits.render.rpm"`` goes into it."""
    headers: tuple[str, ...] = ()
    """Headers that the answer should have."""
    text: str = ""
    """What a page should say."""

    @property
    def expected(self) -> str:
        """The answer in short."""
        return f"{self.status} {self.source}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came back. ``status`` 0: nothing did."""

    status: int = 0
    source: str = ""
    calls: int = 0
    milliseconds: float = 0.0
    body: Any = None
    headers: frozenset[str] = frozenset()
    text: str = ""
    error: str = ""


def perform(step: Step, count_calls: Callable[[], int]) -> Seen:
    """Do a step, and return what came back."""
    before = count_calls()
    try:
        response = step.do()
    except requests.RequestException as exc:
        return Seen(error=type(exc).__name__)
    body = _json(response)
    return Seen(
        status=response.status_code,
        source=str(_member(body, "source") or ""),
        calls=count_calls() - before,
        milliseconds=response.elapsed.total_seconds() * 1000,
        body=body,
        headers=frozenset(name.lower() for name in response.headers),
        text=response.text,
    )


def differences(step: Step, seen: Seen) -> list[str]:
    """Say in words what is not as it should be. Never quotes a whole answer."""
    if seen.error:
        return [f"no answer: {seen.error}"]
    pairs = [
        ("status", step.status, seen.status),
        ("source", step.source, seen.source),
        ("calls of the Config Service", step.calls, seen.calls),
        *((name, value, _member(seen.body, name)) for name, value in step.body.items()),
    ]
    found = [f"{name}: expected {a!r}, got {b!r}" for name, a, b in pairs if a != b]
    found += [
        f"header {name} is missing" for name in step.headers if name.lower() not in seen.headers
    ]
    if step.text not in seen.text:
        found.append(f"the page does not say {step.text!r}")
    detail = _member(seen.body, "detail")
    return [*found, f"the answer says: {detail}"] if found and detail else found


def _json(response: requests.Response) -> Any:
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        return response.json()
    except requests.JSONDecodeError:
        return None


def _member(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body
