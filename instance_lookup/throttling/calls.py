"""One request's call, counted for the instance that its user may have."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.concurrency.pools import in_executor
from instance_lookup.exceptions import RateLimitExceeded, RateLimitUnavailable
from instance_lookup.registry import get_resolver
from instance_lookup.request.attributes import lookup_for
from instance_lookup.throttling.counter import get_counter
from instance_lookup.throttling.limits import policy_of, standing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.request.response import ResponseState
    from instance_lookup.throttling.limits import Standing
    from instance_lookup.types import InstanceConfig, RateLimit


def check_name(name: str) -> str:
    """Return the name of a limit. Raises ``ValueError`` for one that no header can say."""
    if not name or not name.isascii() or not name.isprintable() or set(name) & {'"', "\\"}:
        raise ValueError(
            f"the name of a rate limit is printable ASCII without quotes and backslashes, not"
            f" {name!r}"
        )
    return name


def count_call(name: str, request: Any) -> None:
    """Count the call of a request, Django's or DRF's, for its instance's limit ``name``.

    Nothing is counted where the configuration has no such limit. Raises ``RateLimitExceeded``,
    ``RateLimitUnavailable``, and what the lookup of the instance raises.
    """
    lookup = lookup_for(request)
    config = lookup.get().config
    if (limit := config.rate_limits.get(name)) is not None:
        _judge(name, config, limit, lookup.state, _counting(name, config, limit)())


async def acount_call(name: str, request: Any) -> None:
    """Count as :func:`count_call` does, and raise what it raises, without blocking the loop."""
    lookup = lookup_for(request)
    config = (await lookup.aget()).config
    if (limit := config.rate_limits.get(name)) is not None:
        standing = await in_executor(_counting(name, config, limit))
        _judge(name, config, limit, lookup.state, standing)


def _counting(name: str, config: InstanceConfig, limit: RateLimit) -> Callable[[], Standing | None]:
    """Return what counts the call. It is found here: the settings of a test are those of now."""
    settings = get_resolver().settings
    counter = get_counter(settings.cache_alias)
    fail_open = settings.throttle_fail_open
    return partial(counter.count, name, config.instance_id, limit, fail_open=fail_open)


def _judge(
    name: str,
    config: InstanceConfig,
    limit: RateLimit,
    state: ResponseState,
    standing: Standing | None,
) -> None:
    """Have the response say how the instance stands, and raise the error of a refused call."""
    asked = config.instance_id
    if standing is None:
        if get_resolver().settings.throttle_fail_open:
            return
        state.fail()
        raise RateLimitUnavailable(
            f"Calls for the rate limit {name!r} of instance {asked!r} cannot be counted at the"
            " moment.",
            retry_after=CACHE_SKIPPED,
            instance_id=asked,
            limit=name,
        )
    state.limit(name, policy_of(name, limit), standing_of(name, standing))
    if standing.wait:
        state.fail()
        raise RateLimitExceeded(
            f"Calls are over the rate limit {name!r} of instance {asked!r}. The next one is let"
            f" through in {math.ceil(standing.wait)} s.",
            retry_after=standing.wait,
            instance_id=asked,
            limit=name,
        )
