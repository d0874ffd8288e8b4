"""What tests see of the inside of a resolver, each in one place only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance_lookup.concurrency import forks
from instance_lookup.concurrency.threads import DaemonPool

if TYPE_CHECKING:
    from instance_lookup import InstanceResolver
    from instance_lookup.concurrency.single_flight import SingleFlight


def on_board(flights: SingleFlight[Any]) -> list[Any]:
    """Return the flights of this process that are under way."""
    board = flights._board
    with board.lock:
        groups = {id(group): group for group in board.groups.values()}
        return [flight for group in groups.values() for flight in group.flights.values()]


def flights_of(resolver: InstanceResolver) -> list[Any]:
    """Return the fetches of instances that are under way now."""
    return on_board(resolver._load_config._flights.single)


def under_way(resolver: InstanceResolver) -> int:
    """Return how many fetches are under way, of instances and of projects."""
    return len(flights_of(resolver)) + len(on_board(resolver._load_project._flights.single))


def has_landed(resolver: InstanceResolver) -> bool:
    return not under_way(resolver)


def at_rest() -> bool:
    """Tell whether no thread of any pool of this process works, and none has anything to do."""
    return all(_is_idle(pool) for pool in list(forks._all) if isinstance(pool, DaemonPool))


def _is_idle(pool: DaemonPool) -> bool:
    with pool._crew.changed:
        return not pool._crew.jobs and pool._crew.idle == pool._crew.workers


def disconnect(backend: Any) -> None:
    """Close the connections of an ``HttpConfigService``."""
    backend._session.close()
