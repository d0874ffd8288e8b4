"""What a message carries: a header, added when it is published, read when its task runs.

By Celery's signals, so that all is covered that sends messages: ``delay``, ``send_task``, chains,
groups, chords, callbacks, retries. Celery logs errors of receivers and goes on, so what is wrong
with a message is kept for the task to raise.
"""

from __future__ import annotations

from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from instance_lookup.exceptions import AccessDenied
from instance_lookup.jobs.carried import read, sign
from instance_lookup.jobs.job import Job
from instance_lookup.jobs.publishing import carried_now

HEADER = "instance_lookup"
"""The name of the header in a message."""
_JOB = "_instance_lookup_job"


class TaskJob(Job):
    """A task that a worker runs, or that runs eagerly."""

    error: AccessDenied | None = None
    """Why what its message carries is not believed."""


@before_task_publish.connect(dispatch_uid="instance_lookup")  # type: ignore[untyped-decorator]
def add_header(headers: dict[str, Any], **kwargs: object) -> None:
    """Have a message carry what is current where it is published."""
    headers.pop(HEADER, None)  # a retry brings along what its first message carried
    if (carried := carried_now(insist=False)) is not None:
        headers[HEADER] = sign(carried, headers["task"], headers["id"])


@task_prerun.connect(dispatch_uid="instance_lookup")  # type: ignore[untyped-decorator]
def begin(task: Any, task_id: str, **kwargs: object) -> None:
    """Have the task, and what it publishes, work for what its message carries.

    Until after it has returned: Celery publishes the next task of a chain then.
    """
    request, error, carried = task.request, None, None
    if request.is_eager:  # there is no message: what is around it counts
        carried = carried_now(insist=False)
    elif text := (request.headers or {}).get(HEADER):
        try:
            carried = read(text, task.name, task_id)
        except AccessDenied as exc:
            error = exc
    job = TaskJob(carried, is_apart=not request.is_eager)
    job.error = error
    job.begin()
    vars(request)[_JOB] = job


@task_postrun.connect(dispatch_uid="instance_lookup")  # type: ignore[untyped-decorator]
def end(task: Any, **kwargs: object) -> None:
    """Leave nothing behind for the next task of this thread."""
    job: TaskJob | None = vars(task.request).pop(_JOB, None)
    if job is not None:
        job.end()
