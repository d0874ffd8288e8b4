"""Tasks that run in the instance which their message carries, for a user who may have it now."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from celery import current_app, shared_task
from celery.contrib.django.task import DjangoTask
from django.db import InterfaceError, OperationalError, transaction

from instance_lookup.contrib.celery.messages import TaskJob
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceRequired,
    InvalidContext,
)
from instance_lookup.jobs.job import running_job
from instance_lookup.jobs.publishing import carried_now
from instance_lookup.jobs.running import block_for, check_current
from instance_lookup.request import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.access import Allows
    from instance_lookup.current import use_instance

FINAL = (AccessDenied, InstanceNotFound, InstanceRequired, InvalidContext)
"""Errors that a retry does not mend."""
_DATABASE_IS_DOWN = (InterfaceError, OperationalError)
"""So the user cannot be loaded now."""
_OURS = ("celery.", "instance_lookup.")
"""How the names of tasks begin that work for no instance, and only pass on what they carry."""
_COVERED = "_instance_lookup_covered"


class InstanceTask(DjangoTask):  # type: ignore[misc]  # Celery has no types
    """The base of tasks that need an instance: ``@app.task(base=InstanceTask)``.

    A worker runs one only with an instance that its message carries, and for a user who may have
    it by then: else it fails with ``InstanceRequired`` or ``AccessDenied``, and is not retried. If
    the Config Service or the database has no answer the task has not begun, and is retried later.
    Called directly, it works in what is current.
    """

    abstract = True
    dont_autoretry_for = FINAL
    instance_policy: Allows | None = None
    """What the user must be allowed by as well."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task in its instance."""
        # Not in "run", which Celery wraps to retry after errors. What runs many in one, such as
        # "chunks", calls this, too.
        with _instance_of(self, self.instance_policy, is_required=True):
            return super().__call__(*args, **kwargs)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Publish the task. Raise at once what the lookup of the current request raises."""
        carried_now()
        return super().apply_async(*args, **options)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Publish the task after the transaction, for the instance that is current now."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, **options: Any) -> None:
        """Publish the task after the transaction, for the instance that is current now."""
        carried_now()
        publish = partial(self.apply_async, *args, **options)
        # The block that is current now may end before the transaction does.
        transaction.on_commit(partial(copy_context().run, publish))


@overload
def instance_task(function: Callable[..., Any], /) -> Any: ...


@overload
def instance_task(
    *, policy: Allows | None = None, app: Any = None, base: Any = None, **options: Any
) -> Callable[[Callable[..., Any]], Any]: ...


def instance_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    policy: Allows | None = None,
    app: Any = None,
    base: Any = None,
    **options: Any,
) -> Any:
    """Make a task of a function which needs an instance: ``@instance_task``.

    The user must be allowed to have the instance when the task runs, by ``policy``, too, where one
    is given. ``app`` is the Celery app; without one it is a shared task. ``base`` is a task class
    of the project's own, and ``options`` are those of ``shared_task``.
    """
    if base is None:
        base = InstanceTask
    elif not issubclass(base, InstanceTask):
        base = type(base.__name__, (InstanceTask, base), {"abstract": True})
    options["dont_autoretry_for"] = (*options.get("dont_autoretry_for", ()), *FINAL)
    make: Any = shared_task if app is None else app.task
    decorate = make(base=base, instance_policy=policy, **options)
    return decorate if function is None else decorate(function)


def install(app: Any = None) -> None:
    """Have all tasks of a Celery app run in the instance that their message carries, if any.

    For tasks that cannot change, such as those of other packages. One whose message carries an
    instance fails with ``AccessDenied`` if the user may not have it by then. One without runs as
    ever, and ``current_instance()`` raises ``InstanceRequired`` in it. ``app`` is the current app
    unless one is given. Call it once, where the app is made.
    """
    app = app or current_app._get_current_object()  # noqa: SLF001  # as Celery's docs do
    if app.configured:
        _annotate(app)
    else:  # Django's settings may not be ready here: a project's package imports its app
        app.on_after_configure.connect(_annotate, weak=False, dispatch_uid="instance_lookup")
    for task in list(app._tasks.values()):  # noqa: SLF001  # "tasks" would load all there are
        _cover(type(task))


def _annotate(sender: Any, **kwargs: object) -> None:
    # After those of the settings, which replace what comes before.
    sender.annotations = [*sender.annotations, _Covering()]


class _Covering:
    """For ``task_annotations``, which Celery asks about each task that an app gets."""

    def annotate(self, task: Any) -> None:
        _cover(task)

    def annotate_any(self) -> None:
        """Return what is the same for all tasks: nothing."""


def _cover(kind: Any) -> None:
    """Have tasks of this class run in the instance that their message carries."""
    # A class without a name has tasks that get theirs when they are registered.
    is_ours = (kind.name or "").startswith(_OURS)
    if is_ours or issubclass(kind, InstanceTask) or _COVERED in vars(kind):
        return
    own = vars(kind).get("__call__")

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _instance_of(self, None, is_required=False):
            if own is not None:
                return own(self, *args, **kwargs)
            return super(kind, self).__call__(*args, **kwargs)

    # Not by functools.wraps: Celery would take what is wrapped for the one to call.
    kind.__call__ = call
    setattr(kind, _COVERED, True)


@contextmanager
def _instance_of(task: Any, policy: Allows | None, *, is_required: bool) -> Iterator[None]:
    """Run a task in its instance."""
    # Before Celery publishes the next task of a chain: it is not of what the function has left.
    with current.Kept(), ExitStack() as stack:
        try:
            if (block := _block_of(task, policy, is_required=is_required)) is not None:
                stack.enter_context(block)
        except (ConfigServiceUnavailable, *_DATABASE_IS_DOWN) as exc:
            if task.request.called_directly:  # by a task that runs many
                raise
            retry_after = getattr(exc, "retry_after", None) or 0.0
            delay = max(task.default_retry_delay, retry_after)
            raise task.retry(exc=exc, countdown=delay) from exc
        yield


def _block_of(task: Any, policy: Allows | None, *, is_required: bool) -> use_instance | None:
    """Return the block to run a task in; ``None``: it runs in what is current, or in none."""
    job = running_job()
    if not isinstance(job, TaskJob):  # called directly, by code in a request or block
        if is_required:
            check_current(policy)
        return None
    if job.error is not None:
        raise job.error.with_traceback(None)
    if job.carried is not None:
        return block_for(job.carried, policy=policy)
    if not is_required:
        return None
    raise InstanceRequired(
        f"Task {task.name!r} needs an instance, and its message carries none: it was published by "
        "beat, in a shell, or by other code that is in no request. Publish it inside 'with "
        "use_instance(instance_id, user=...):'."
    )
