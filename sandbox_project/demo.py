"""The demo: start a Config Service and a site that uses ``instance_lookup``, and tell a story."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import requests
from config_service.process import SIGNALS, stop_if_asked
from servers import Sandbox
from studio.people import NEIGHBOUR, OWNER, PASSWORD, PEOPLE, STRANGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from studio.people import Visitor

LATER: Final = {"Retry-After": True}


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and the answer that is expected."""

    title: str
    do: Callable[[], requests.Response]
    status: int
    source: str | None = ""
    """``None``: either, for the answer may be fetched ahead by now, or on the way."""
    calls: int | None = 0
    """How many requests the Config Service should see; ``None``: any number."""
    body: dict[str, Any] = field(default_factory=dict)
    """Members of the answer."""


# --- the story ------------------------------------------------------------------------------------


def story(sandbox: Sandbox) -> Iterator[str | Step]:
    """Tell all of it: headings and steps. What stands between two steps happens between them."""
    for part in (which_and_who, what_happens, what_changes, by_hand):
        yield from part(sandbox)


def at(person: Visitor, instance_id: str) -> Callable[[], requests.Response]:
    return partial(person.instance, X_Instance_ID=instance_id)


def which_and_who(sandbox: Sandbox) -> Iterator[str | Step]:
    """Tell which instance a request is in, who may have it, and what for."""
    admin, owner, neighbour, stranger = sandbox.people
    by_default = {"instance_id": "studio-a", "decided_by": "UserDefaultIdentifier"}
    by_header = {"decided_by": "HeaderIdentifier", "allowed_as": "owner"}
    by_project = {"instance_id": "studio-a", "decided_by": "ProjectIdentifier"}
    film = partial(owner.instance, X_Project_ID="film-42")
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
    yield Step("owner in a browser: the page", partial(owner.page, "/"), 200)
    lighthouse, harbour = partial(owner.job, "a lighthouse"), partial(neighbour.job, "a harbour")
    yield "What the configuration is for"
    a, b = {"customer": "studio-a"}, {"customer": "studio-b"}
    yield Step("owner's job: done for studio-a's key", lighthouse, 200, body=a)
    yield Step("neighbour's job: done for studio-b's key", harbour, 200, calls=1, body=b)
    yield Step("stranger's job: names no instance", partial(stranger.job, "a free lunch"), 400)


def what_happens(sandbox: Sandbox) -> Iterator[str | Step]:
    """Tell of a service that is down, and of an instance that is deleted."""
    admin, owner, _, stranger = sandbox.people
    admin.cache("expire", "studio-a")
    sandbox.service.stop()
    yield "The Config Service is stopped, and studio-a expired"
    stale, away = {"ttl_remaining": 0}, at(admin, "no-owner")
    yield Step("owner: the stale copy", owner.instance, 200, "stale_cache", body=stale)
    yield Step("stranger: not even now", at(stranger, "studio-a"), 403)
    yield Step("admin, an instance that is not cached", away, 503, body=LATER)
    sandbox.restart_service()
    sandbox.service_admin.remove("studio-a")
    sandbox.service_admin.wait_until_told()
    yield "The service is back, and studio-a was deleted there"
    yield Step("owner: gone", owner.instance, 404, calls=1)
    sandbox.service_admin.switch(down=True)
    yield "It is switched down: studio-a must not come back from an old copy"
    yield Step("owner: still gone, the 404 is kept", owner.instance, 404)
    sandbox.service_admin.switch(down=False)


def what_changes(sandbox: Sandbox) -> Iterator[str | Step]:
    """Tell of an instance that changes: the service tells the site by its webhook."""
    _, _, neighbour, stranger = sandbox.people
    ask, harbour = neighbour.instance, partial(neighbour.job, "a harbour at noon")
    none = {"rpm_burst": None, "daily": None}
    old, new = ({"rate_limits": {"render": {"rpm": rpm, **none}}} for rpm in (10, 0))
    yield "studio-b is in the cache, for minutes to come"
    yield Step("neighbour: the cached copy", ask, 200, "cache", 0, old)
    yield sandbox.change("studio-b", **new) + "paused, no calls a minute"
    yield Step("neighbour, next request: the new", ask, 200, None, None, new)
    for one in sandbox.elsewhere:
        title = "neighbour, the site's other process"
        yield Step(title, one.instance, 200, None, None, new)
    yield Step("neighbour's job: over the limit", harbour, 429, body=LATER)
    yield sandbox.change("studio-b", owner=STRANGER.user_id) + "revoked, the stranger owns it"
    yield Step("neighbour: not any more", ask, 403, calls=1)
    for one in sandbox.elsewhere:
        yield Step("neighbour, the site's other process", one.instance, 403)
    yield Step("stranger: may have it now", at(stranger, "studio-b"), 200, "cache")
    yield sandbox.change("studio-b", owner=NEIGHBOUR.user_id) + "given back"
    yield Step("neighbour: as before", ask, 200, "service", 1)


def by_hand(sandbox: Sandbox) -> Iterator[str | Step]:
    """Tell what it looks like without this package."""
    _, _, neighbour, stranger = sandbox.people
    owns_it, does_not = (partial(p.page, "/naive/studio-b/") for p in (neighbour, stranger))
    all_of_it = {"instance_id": "studio-b", "key_names": ["render"]}
    yield "For contrast: a lookup by hand (studio/naive.py), same servers"
    yield Step("stranger", does_not, 403, calls=1)
    yield Step("neighbour, who owns studio-b", owns_it, 200, calls=1)
    yield Step("stranger again: gets it, keys and all", does_not, 200, body=all_of_it)
    yield Step("the same through instance_lookup", at(stranger, "studio-b"), 403)


# --- the command ----------------------------------------------------------------------------------

ROW: Final = "{:>2}  {:<40} {:<15} {:>6} {:<11} {:>5} {:>8}  {}"
HEAD: Final = """
source: where the studio had the configuration from.
calls: requests that the Config Service answered; 0: it was not asked, or is away.

 #  step                                     expected        status source      calls  latency"""
ADDRESSES: Final = f"""
Studio          {{sandbox.studio.url}}/
Config Service  {{sandbox.service.url}}/admin/config_service/switches/   (down, slow, faulty)
Save there      {{sandbox.service.url}}/admin/config_service/instance/   (and reload the studio)
Who was told    {{sandbox.service.url}}/admin/config_service/delivery/
By hand         {{sandbox.studio.url}}/naive/studio-b/   (as neighbour, then as stranger)
Worker          {{sandbox.worker.url}}

Log-ins, all with the password {PASSWORD!r}:
{chr(10).join(f"  {person.name:<10} {person.about}" for person in PEOPLE)}
  admin is also the log-in of the Config Service.

A job for the worker of studio-a:
  curl -H 'Authorization: Token {OWNER.token}' -d task=lighthouse {{sandbox.studio.url}}/api/jobs/

Ctrl-C stops everything and removes its files."""


def perform(step: Step, sandbox: Sandbox) -> dict[str, Any]:
    """Do a step, and return what was seen: the members of the answer and more."""
    before = sandbox.service_calls()
    answer = step.do()
    body = answer.json() if "json" in answer.headers["Content-Type"] else {}
    return {
        "source": "",
        **body,
        "status": answer.status_code,
        "calls": sandbox.service_calls() - before,
        "Retry-After": "Retry-After" in answer.headers,
        "latency": f"{answer.elapsed.total_seconds() * 1000:.0f} ms",
    }


def differences(step: Step, seen: dict[str, Any]) -> Iterator[str]:
    """Say in words what is not as it should be."""
    wanted = {"status": step.status, "source": step.source, "calls": step.calls, **step.body}
    expected = {name: value for name, value in wanted.items() if value is not None}
    for name, value in expected.items():
        if seen.get(name) != value:
            says = f" ({seen['detail']})" if "detail" in seen else ""
            yield f"{name}: expected {value!r}, got {seen.get(name)!r}{says}"


def tell(sandbox: Sandbox) -> str:
    """Tell the story step by step, and return what went wrong."""
    print(HEAD)
    steps = failed = 0
    for scene in story(sandbox):
        if not isinstance(scene, Step):
            print(f"\n{scene}", flush=True)
            continue
        stop_if_asked()
        seen = perform(scene, sandbox)
        wrong = list(differences(scene, seen))
        steps, failed = steps + 1, failed + bool(wrong)
        expected = f"{scene.status} {scene.source or ''}".strip()
        cells = (seen["status"], seen["source"] or "-", seen["calls"], seen["latency"])
        print(ROW.format(steps, scene.title, expected, *cells, "WRONG" if wrong else "ok"))
        print(*(f"     {line}\n" for line in wrong), sep="", end="", flush=True)
    if failed:
        return f"{failed} of {steps} steps went wrong."
    print(f"\nAll {steps} steps did what they should.", flush=True)
    return ""


def main() -> str | int:
    """Do all of it, and return what ``sys.exit`` takes."""
    parser = ArgumentParser(description="Start the sandbox, and tell its story against it.")
    parser.add_argument("--serve", action="store_true", help="leave the servers up until Ctrl-C")
    parser.add_argument("--redis", metavar="URL", help="keep the cache there; or set REDIS_URL")
    options = parser.parse_args()
    redis_url = options.redis or os.environ.get("REDIS_URL") or ""
    where = "in Redis" if redis_url else "in the process"
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    print(f"Starting worker, Config Service and studio (cache {where}) ...", flush=True)
    try:
        with ExitStack() as running:
            sandbox = Sandbox(redis_url, running)
            wrong = tell(sandbox)
            if options.serve:
                sandbox.put_back()
                print(ADDRESSES.format(sandbox=sandbox), flush=True)
                signal.sigwait(SIGNALS)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, requests.RequestException) as exc:
        return f"The demo cannot go on: {exc}"
    return wrong or 0


if __name__ == "__main__":
    sys.exit(main())
