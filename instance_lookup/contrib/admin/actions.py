"""What the pages can do to instances, and how each is told and logged."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.invalidation import (
    Invalidated,
    block,
    invalidate,
    parse_duration,
    unblock,
)
from instance_lookup.outcomes import Failure
from instance_lookup.warming import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from instance_lookup.resolver import InstanceResolver

WARM_SECONDS = 20.0
"""How long a page waits for configurations to come; then it says which did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A verb for instances that people choose."""

    name: str
    label: str
    done: str
    """The label's past participle."""
    consequence: str
    """What it means, for the page that asks for confirmation."""
    run: Callable[[InstanceResolver, Sequence[str], str], Iterable[str | Failure]]
    """Do it, with what was filled in; return the id of each instance, or why it failed.

    Raises ``ValueError`` for what was filled in.
    """
    asks: str = ""
    """What has to be filled in; empty: nothing."""
    suggests: str = ""
    """What stands there."""
    is_destructive: bool = False
    """Whether an instance may be down until the Config Service answers."""


def _warm(resolver: InstanceResolver, ids: Sequence[str], _: str) -> Iterator[str | Failure]:
    end = monotonic() + WARM_SECONDS
    left = dict.fromkeys(ids)
    for outcome in warm(resolver, ids):
        left.pop(str(outcome.id if isinstance(outcome, Failure) else outcome), None)
        yield outcome
        if monotonic() > end:
            break  # what is under way goes on in its threads
    for instance_id in left:
        message = f"not done within {WARM_SECONDS:g} s; try it again"
        yield Failure(instance_id, "TIMEOUT", None, message)


def _purge(resolver: InstanceResolver, ids: Sequence[str], _: str) -> Iterator[str | Failure]:
    return _ids(invalidate(resolver, ids))


def _expire(resolver: InstanceResolver, ids: Sequence[str], _: str) -> Iterator[str | Failure]:
    return _ids(invalidate(resolver, ids, expire=True))


def _block(resolver: InstanceResolver, ids: Sequence[str], time: str) -> Iterator[str | Failure]:
    return _ids(block(resolver, ids, parse_duration(time.strip())))


def _unblock(resolver: InstanceResolver, ids: Sequence[str], _: str) -> Iterator[str | Failure]:
    return _ids(unblock(resolver, ids))


def _ids(outcomes: Iterable[Invalidated | Failure]) -> Iterator[str | Failure]:
    for outcome in outcomes:
        yield str(outcome.id) if isinstance(outcome, Invalidated) else outcome


ACTIONS = {
    action.name: action
    for action in (
        Action(
            name="warm",
            label="Warm",
            done="Warmed",
            consequence="The Config Service is asked for each, and its answer is stored.",
            run=_warm,
        ),
        Action(
            name="expire",
            label="Expire",
            done="Expired",
            consequence=(
                "The copy counts as out of date: the next request asks the Config Service, and gets"
                " the copy only if the service fails."
            ),
            run=_expire,
        ),
        Action(
            name="purge",
            label="Purge",
            done="Purged",
            consequence=(
                "The stored copy is never served again. Until the Config Service returns an"
                " instance, requests for it get 503."
            ),
            run=_purge,
            is_destructive=True,
        ),
        Action(
            name="block",
            label="Block",
            done="Blocked",
            consequence=(
                "No user gets it until then, whatever the Config Service says: requests are"
                " refused. That is so in every process, also after a restart."
            ),
            run=_block,
            asks="For how long? Such as 24h, 30m or 2d.",
            suggests="24h",
            is_destructive=True,
        ),
        Action(
            name="unblock",
            label="Unblock",
            done="Unblocked",
            consequence="Blocks are lifted: the Config Service and the policy decide again.",
            run=_unblock,
        ),
    )
}


def purge_all(resolver: InstanceResolver) -> Failure | None:
    """Have nothing that is stored served again; return why that failed."""
    try:
        resolver.invalidate_all_caches()
    except InstanceLookupError as exc:
        return Failure.of(None, exc)
    return None
