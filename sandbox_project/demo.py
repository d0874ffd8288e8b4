"""The demo's story, step by step. What stands between two steps happens between them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from sandbox import Browser, Program, Sandbox, ServiceAdmin
from studio.people import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator


@dataclass(frozen=True, slots=True)
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
    header: str = ""
    """A header that the answer should have."""
    text: str = ""
    """What a page should say."""

    @property
    def expected(self) -> str:
        return f"{self.status} {self.source}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came back of a step. ``status`` 0: nothing did."""

    status: int = 0
    source: str = ""
    calls: int = 0
    milliseconds: float = 0.0
    body: Any = None
    headers: Container[str] = ()
    text: str = ""
    error: str = ""


def perform(step: Step, count_calls: Callable[[], int]) -> Seen:
    """Do a step, and return what came back."""
    before = count_calls()
    try:
        response = step.do()
        is_json = "json" in response.headers.get("Content-Type", "")
        body = response.json() if is_json else None
    except requests.RequestException as exc:
        return Seen(error=type(exc).__name__)
    return Seen(
        status=response.status_code,
        source=member(body, "source") or "",
        calls=count_calls() - before,
        milliseconds=response.elapsed.total_seconds() * 1000,
        body=body,
        headers=response.headers,
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
        *((name, value, member(seen.body, name)) for name, value in step.body.items()),
    ]
    found = [f"{name}: expected {a!r}, got {b!r}" for name, a, b in pairs if a != b]
    if step.header and step.header not in seen.headers:
        found.append(f"header {step.header} is missing")
    if step.text not in seen.text:
        found.append(f"the page does not say {step.text!r}")
    detail = member(seen.body, "detail")
    return [*found, f"the answer says: {detail}"] if found and detail else found


def member(body: Any, path: str) -> Any:
    """Return a member of an answer; ``None`` where there is none."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


# --- the story ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cast:
    """The people of the story by name, each with a program and at a screen; and the service's."""

    service: ServiceAdmin
    api: dict[str, Program]
    screen: dict[str, Browser]


@contextmanager
def log_in(sandbox: Sandbox) -> Iterator[Cast]:
    """Log all people in at the studio."""
    url, people = sandbox.studio.url, {person.name: person for person in PEOPLE}
    service = ServiceAdmin(sandbox.service.url)
    api = {name: Program(url, person) for name, person in people.items()}
    screen = {name: Browser(url, person) for name, person in people.items()}
    try:
        yield Cast(service, api, screen)
    finally:
        for client in (service, *api.values(), *screen.values()):
            client.session.close()


def story(sandbox: Sandbox, cast: Cast) -> Iterator[str | Step]:
    """Tell all of it: headings and steps."""
    yield from which_and_who(cast)
    yield from jobs(cast)
    yield from outage(sandbox, cast)
    yield from change(cast)
    yield from by_hand(cast)


def at(program: Program, instance_id: str) -> Callable[[], requests.Response]:
    return partial(program.instance, X_Instance_ID=instance_id)


def which_and_who(cast: Cast) -> Iterator[str | Step]:
    """Tell which instance a request is in, and who may have it."""
    owner, stranger, admin = cast.api["owner"], cast.api["stranger"], cast.api["admin"]
    by_default = {"instance_id": "studio-a", "decided_by": "UserDefaultIdentifier"}
    by_header = {"decided_by": "HeaderIdentifier", "allowed_as": "owner"}
    by_project = {"instance_id": "studio-a", "decided_by": "ProjectIdentifier"}
    film = partial(owner.instance, X_Project_ID="film-42")
    page, words = partial(cast.screen["owner"].get, "/"), "Your profile names it as your default."
    denied = {"type": "urn:instance-lookup:access-denied"}
    yield "Which instance, and who may have it"
    yield Step("owner: the service is asked", owner.instance, 200, "service", 1, by_default)
    yield Step("owner again: from the cache", owner.instance, 200, "cache")
    yield Step("owner by header X-Instance-ID", at(owner, "studio-a"), 200, "cache", 0, by_header)
    yield Step("stranger, although it is cached", at(stranger, "studio-a"), 403, body=denied)
    yield Step("admin", at(admin, "studio-a"), 200, "cache", body={"allowed_as": "admin"})
    yield Step("unknown instance", at(owner, "nowhere"), 404, calls=1)
    yield Step("malformed header: no fallback to default", at(owner, "studio-a,studio-b"), 400)
    yield Step("owner by project: the service maps it", film, 200, "cache", 1, by_project)
    yield Step("owner in a browser: the page", page, 200, text=words)


def jobs(cast: Cast) -> Iterator[str | Step]:
    """Tell of the worker that takes the instance's key."""
    lighthouse = partial(cast.api["owner"].job, "a lighthouse at dusk")
    harbour = partial(cast.api["neighbour"].job, "a harbour at dawn")
    lunch = partial(cast.api["stranger"].job, "a free lunch")
    a, b = {"customer": "studio-a"}, {"customer": "studio-b"}
    yield "What the configuration is for"
    yield Step("owner's job: done for studio-a's key", lighthouse, 200, body=a)
    yield Step("neighbour's job: done for studio-b's key", harbour, 200, calls=1, body=b)
    yield Step("stranger's job: names no instance", lunch, 400)


def outage(sandbox: Sandbox, cast: Cast) -> Iterator[str | Step]:
    """Tell of the service that goes away, and comes back with an instance fewer."""
    owner, stranger, admin = cast.api["owner"], cast.api["stranger"], cast.api["admin"]
    cast.screen["admin"].cache("expire", "studio-a")
    sandbox.service.stop()
    yield "The Config Service is stopped, and studio-a expired"
    stale, away = {"ttl_remaining": 0}, at(admin, "no-owner")
    yield Step("owner: the stale copy", owner.instance, 200, "stale_cache", body=stale)
    yield Step("stranger: not even now", at(stranger, "studio-a"), 403)
    yield Step("admin, an instance that is not cached", away, 503, header="Retry-After")
    sandbox.start_service(port=sandbox.service.port)
    cast.service.delete("studio-a")
    yield "The service is back, and studio-a was deleted there"
    yield Step("owner: gone", owner.instance, 404, calls=1)
    cast.service.switch(down=True)
    yield "It is switched down: studio-a must not come back from an old copy"
    yield Step("owner: still gone, the 404 is kept", owner.instance, 404)
    cast.service.switch(down=False)


def change(cast: Cast) -> Iterator[str | Step]:
    """Tell how a change gets through."""
    ask, rpm = cast.api["neighbour"].instance, "rate_limits.render.rpm"
    harbour = partial(cast.api["neighbour"].job, "a harbour at noon")
    cast.service.put("instance", "studio-b", rate_limits={"render": {"rpm": 0}})
    yield "studio-b is paused at the service: no calls a minute"
    yield Step("neighbour: the cached copy, as agreed", ask, 200, "cache", body={rpm: 10})
    cast.screen["admin"].cache("invalidate", "studio-b")
    yield Step("neighbour, after invalidating: the new", ask, 200, "service", 1, {rpm: 0})
    yield Step("neighbour's job: over the limit", harbour, 429, header="Retry-After")


def by_hand(cast: Cast) -> Iterator[str | Step]:
    """Tell what it looks like without this package."""
    stranger, neighbour = (
        partial(cast.screen[name].get, "/naive/studio-b/") for name in ("stranger", "neighbour")
    )
    all_of_it = {"instance_id": "studio-b", "key_names": ["render"]}
    yield "For contrast: sixty lines by hand (studio/naive.py), same servers"
    yield Step("stranger", stranger, 403, calls=1)
    yield Step("neighbour, who owns studio-b", neighbour, 200, calls=1)
    yield Step("stranger again: gets it, keys and all", stranger, 200, body=all_of_it)
    yield Step("the same through instance_lookup", at(cast.api["stranger"], "studio-b"), 403)


def put_back(sandbox: Sandbox, cast: Cast) -> None:
    """Bring everything back to the first state, for those who want to play."""
    sandbox.service.stop()
    sandbox.start_service("--seed", port=sandbox.service.port)
    for instance_id in ("studio-a", "studio-b", "no-owner"):
        cast.screen["admin"].cache("invalidate", instance_id)
