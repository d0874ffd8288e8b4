"""Route a job to the worker of an instance, with the instance's own key and within its limits."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Final

import requests
from django.core.cache import cache
from rest_framework.exceptions import APIException, ParseError, Throttled

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig

MINUTE: Final = 60
DAY: Final = 86_400


class WorkerFailed(APIException):
    """The worker is away, or did not do it."""

    status_code = 502
    default_code = "worker_failed"


def route_job(config: InstanceConfig, worker: str, task: str) -> dict[str, Any]:
    """Have the instance's worker do a task, and return what it answers.

    Raises ``ParseError``, ``Throttled`` or ``WorkerFailed``.
    """
    if worker not in config.worker_urls:
        names = ", ".join(sorted(config.worker_urls)) or "none"
        raise ParseError(f"{config.instance_id} has no worker {worker!r}; it has: {names}.")
    if (wait := take(config, worker, time())) is not None:
        raise Throttled(wait)
    try:
        auth = config.bearer(worker) if worker in config.api_keys else None
    except ValueError as exc:
        raise WorkerFailed("The key of the worker cannot be sent.") from exc
    with requests.Session() as session:
        # A .netrc of the machine would stand in for a key that is not there.
        session.trust_env = False
        try:
            response = session.post(
                config.worker_urls[worker],
                json={"task": task},
                auth=auth,
                timeout=10,
                allow_redirects=False,
            )
            answer: dict[str, Any] = response.json()
        except requests.RequestException as exc:
            raise WorkerFailed("The worker does not answer.") from exc
    if response.status_code != 200:
        # What a worker says when it fails stays in the log of the worker.
        raise WorkerFailed(f"The worker answers {response.status_code}.")
    return answer


def take(config: InstanceConfig, worker: str, now: float) -> float | None:
    """Count one call to a worker; return how many seconds to wait if it was one too many.

    A limit holds for a minute or day of the clock. ``rpm_burst`` is not granted: a sandbox needs
    no more than a limit that holds.
    """
    limit = config.rate_limits.get(worker)
    if limit is None:
        return None
    # The minute first: what it refuses should not use up the day.
    for allowed, seconds in ((limit.rpm, MINUTE), (limit.daily, DAY)):
        key = f"calls:{config.instance_id}:{worker}:{seconds}:{int(now // seconds)}"
        cache.add(key, 0, seconds)
        calls = cache.incr(key)
        if allowed is not None and calls > allowed:
            return seconds - now % seconds
    return None
