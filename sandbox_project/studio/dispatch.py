"""Route a job to the worker of an instance, with the instance's own key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import requests
from rest_framework.exceptions import APIException, Throttled

from studio import limits

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig

TIMEOUT: Final = 10.0


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
    if (wait := limits.take(config, worker)) is not None:
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
