"""Route a job to the worker of an instance, with the instance's own key and within its limits."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Final

import requests
from django.core.cache import cache
from rest_framework.exceptions import APIException, Throttled

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig

TIMEOUT: Final = 10.0
MINUTE: Final = 60
DAY: Final = 86_400


class NoSuchWorker(APIException):
    """The instance has no worker of that name."""

    status_code = 400
    default_code = "no_such_worker"


class WorkerFailed(APIException):
    """The worker is away, or did not do it."""

    status_code = 502
    default_code = "worker_failed"


def route_job(config: InstanceConfig, worker: str, task: str) -> dict[str, Any]:
    """Have the instance's worker do a task, and return what it answers.

    Raises ``NoSuchWorker``, ``Throttled`` or ``WorkerFailed``.
    """
    url = config.worker_urls.get(worker)
    if url is None:
        names = ", ".join(sorted(config.worker_urls)) or "none"
        raise NoSuchWorker(f"{config.instance_id} has no worker {worker!r}; it has: {names}.")
    if (wait := take(config, worker)) is not None:
        raise Throttled(wait)
    return send(url, config.api_keys.get(worker), {"task": task})


def send(url: str, key: str | None, job: dict[str, Any]) -> dict[str, Any]:
    """Send a job. What a worker says when it fails stays in the log of the worker."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with requests.Session() as session:
        # A .netrc of the machine would replace the key.
        session.trust_env = False
        try:
            response = session.post(
                url, json=job, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
            answer = response.json()
        except requests.RequestException as exc:
            raise WorkerFailed("The worker does not answer.") from exc
    if response.status_code != 200 or not isinstance(answer, dict):
        raise WorkerFailed(f"The worker answers {response.status_code}.")
    return answer


def take(config: InstanceConfig, worker: str, now: float | None = None) -> float | None:
    """Count one call to a worker; return how many seconds to wait if it was one too many."""
    limit = config.rate_limits.get(worker)
    if limit is None:
        return None
    moment = time() if now is None else now
    minute, day = (f"calls:{config.instance_id}:{worker}:{window}:" for window in ("min", "day"))
    number = int(moment // MINUTE)
    # The burst only after a minute without one.
    burst = limit.rpm_burst if cache.get(f"{minute}{number - 1}", 0) <= limit.rpm else None
    # The minute first: what it refuses should not use up the day.
    if count(f"{minute}{number}", 2 * MINUTE) > max(limit.rpm, burst or 0):
        return MINUTE - moment % MINUTE
    if limit.daily is not None and count(f"{day}{int(moment // DAY)}", DAY) > limit.daily:
        return DAY - moment % DAY
    return None


def count(key: str, timeout: int) -> int:
    """Count one more, and return how many there were."""
    cache.add(key, 0, timeout)
    return int(cache.incr(key))
