"""The story, step by step. What stands between two steps happens between them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from config_service.remote import RemoteAdmin

from studio import people
from studio.demo.clients import Cast, Player
from studio.demo.servers import SERVICE_PASSWORD
from studio.demo.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import Response

    from studio.demo.servers import Sandbox

PAUSED = {"render": {"rpm": 0, "rpm_burst": None, "daily": None}}

Scene = str | Step
"""A heading, or a step."""


@contextmanager
def log_in(url: str) -> Iterator[Cast]:
    """Have everybody log in at the studio."""
    players = (people.OWNER, people.NEIGHBOUR, people.STRANGER, people.ADMIN)
    with ExitStack() as stack:
        yield Cast(*(stack.enter_context(Player(url, person)) for person in players))


def story(sandbox: Sandbox, cast: Cast) -> Iterator[Scene]:
    """Tell all of it."""
    yield from which_and_who(cast)
    yield from other_names(cast)
    yield from jobs(cast)
    yield from outage(sandbox, cast)
    yield from change(sandbox, cast)
    yield from by_hand(cast)


def which_and_who(cast: Cast) -> Iterator[Scene]:
    """Tell which instance a request is in, and who may have it."""
    owner = cast.owner.api
    yield "Which instance, and who may have it"
    yield Step(
        title="owner: the service is asked",
        do=owner.instance,
        status=200,
        source="service",
        calls=1,
        body={"instance_id": "studio-a", "decided_by": "UserDefaultIdentifier"},
    )
    yield Step(title="owner again: from the cache", do=owner.instance, status=200, source="cache")
    yield Step(
        title="owner by header X-Instance-ID",
        do=partial(owner.instance, X_Instance_ID="studio-a"),
        status=200,
        source="cache",
        body={"decided_by": "HeaderIdentifier", "allowed_as": "owner"},
    )
    yield Step(
        title="stranger, although it is cached",
        do=partial(cast.stranger.api.instance, X_Instance_ID="studio-a"),
        status=403,
        body={"type": "urn:instance-lookup:access-denied"},
    )
    yield Step(
        title="admin",
        do=partial(cast.admin.api.instance, X_Instance_ID="studio-a"),
        status=200,
        source="cache",
        body={"allowed_as": "admin"},
    )


def other_names(cast: Cast) -> Iterator[Scene]:
    """Tell what else a request may name."""
    owner = cast.owner.api
    yield Step(
        title="unknown instance",
        do=partial(owner.instance, X_Instance_ID="nowhere"),
        status=404,
        calls=1,
    )
    yield Step(
        title="malformed header: no fallback to default",
        do=partial(owner.instance, X_Instance_ID="studio-a,studio-b"),
        status=400,
    )
    yield Step(
        title="owner by project: the service maps it",
        do=partial(owner.instance, X_Project_ID="film-42"),
        status=200,
        source="cache",
        calls=1,
        body={"instance_id": "studio-a", "decided_by": "ProjectIdentifier"},
    )
    yield Step(
        title="owner in a browser: the page",
        do=partial(cast.owner.screen.get, "/"),
        status=200,
        text="Your profile names it as your default.",
    )


def jobs(cast: Cast) -> Iterator[Scene]:
    """Tell of the worker that takes the instance's key."""
    yield "What the configuration is for"
    yield Step(
        title="owner's job: done for studio-a's key",
        do=partial(cast.owner.api.job, "a lighthouse at dusk"),
        status=200,
        body={"customer": "studio-a"},
    )
    yield Step(
        title="neighbour's job: done for studio-b's key",
        do=partial(cast.neighbour.api.job, "a harbour at dawn"),
        status=200,
        calls=1,
        body={"customer": "studio-b"},
    )
    yield Step(
        title="stranger's job: names no instance",
        do=partial(cast.stranger.api.job, "a free lunch"),
        status=400,
    )


def outage(sandbox: Sandbox, cast: Cast) -> Iterator[Scene]:
    """Tell of the service that goes away, and comes back with an instance fewer."""
    cast.admin.screen.cache("expire", "studio-a")
    sandbox.stop_service()
    yield "The Config Service is stopped, and studio-a expired"
    yield Step(
        title="owner: the stale copy",
        do=cast.owner.api.instance,
        status=200,
        source="stale_cache",
        body={"ttl_remaining": 0},
    )
    yield Step(
        title="stranger: not even now",
        do=partial(cast.stranger.api.instance, X_Instance_ID="studio-a"),
        status=403,
    )
    yield Step(
        title="admin, an instance that is not cached",
        do=partial(cast.admin.api.instance, X_Instance_ID="no-owner"),
        status=503,
        headers=("Retry-After",),
    )
    sandbox.start_service()
    with _service_admin(sandbox) as service:
        service.delete_instance("studio-a")
        yield "The service is back, and studio-a was deleted there"
        yield Step(title="owner: gone", do=cast.owner.api.instance, status=404, calls=1)
        service.switch(down=True)
        yield "It is switched down: studio-a must not come back from an old copy"
        yield Step(
            title="owner: still gone, the 404 is kept", do=cast.owner.api.instance, status=404
        )
        service.switch(down=False)


def change(sandbox: Sandbox, cast: Cast) -> Iterator[Scene]:
    """Tell how a change gets through."""
    with _service_admin(sandbox) as service:
        service.change_instance("studio-b", rate_limits=PAUSED)
    yield "studio-b is paused at the service: no calls a minute"
    yield Step(
        title="neighbour: the cached copy, as agreed",
        do=cast.neighbour.api.instance,
        status=200,
        source="cache",
        body={"rate_limits.render.rpm": 10},
    )
    cast.admin.screen.cache("invalidate", "studio-b")
    yield Step(
        title="neighbour, after invalidating: the new",
        do=cast.neighbour.api.instance,
        status=200,
        source="service",
        calls=1,
        body={"rate_limits.render.rpm": 0},
    )
    yield Step(
        title="neighbour's job: over the limit",
        do=partial(cast.neighbour.api.job, "a harbour at noon"),
        status=429,
        headers=("Retry-After",),
    )


def by_hand(cast: Cast) -> Iterator[Scene]:
    """Tell what the same looks like without this package."""

    def naive(player: Player) -> Callable[[], Response]:
        return partial(player.screen.get, "/naive/studio-b/")

    yield "For contrast: sixty lines by hand (studio/naive.py), same servers"
    yield Step(title="stranger", do=naive(cast.stranger), status=403, calls=1)
    yield Step(title="neighbour, who owns studio-b", do=naive(cast.neighbour), status=200, calls=1)
    yield Step(
        title="stranger again: gets it, keys and all",
        do=naive(cast.stranger),
        status=200,
        body={"instance_id": "studio-b", "key_names": ["render"]},
    )
    yield Step(
        title="the same through instance_lookup",
        do=partial(cast.stranger.api.instance, X_Instance_ID="studio-b"),
        status=403,
    )


def put_back(sandbox: Sandbox, cast: Cast) -> None:
    """Bring everything back to the first state, for those who want to play."""
    sandbox.stop_service()
    sandbox.start_service(seeded=True)
    for instance_id in ("studio-a", "studio-b", "no-owner"):
        cast.admin.screen.cache("invalidate", instance_id)


def _service_admin(sandbox: Sandbox) -> RemoteAdmin:
    return RemoteAdmin(sandbox.service.url, people.ADMIN.name, SERVICE_PASSWORD)
