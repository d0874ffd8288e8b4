"""The job that runs here. Log lines name its instance, so this loads no more than they need."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from instance_lookup.request import current

if TYPE_CHECKING:
    from instance_lookup.jobs.carried import Carried


class Job:
    """A job that runs here. What it publishes carries on what it carries.

    A queue publishes the next job of a chain after the function of this one has returned, so a
    ``use_instance`` block around the function does not reach far enough.
    """

    __slots__ = ("_block", "_is_apart", "_kept", "_outer", "_request", "carried")

    def __init__(self, carried: Carried | None, *, is_apart: bool = False) -> None:
        """``is_apart``: what is current where it runs is not its own, as in a worker."""
        self.carried = carried
        self._is_apart = is_apart

    def begin(self) -> None:
        """Make this the job of this context, and of what is copied from it."""
        self._outer = _job.get()
        self._kept = current.Kept(hidden=self._is_apart)
        self._block, self._request = current.block(), current.get()
        _job.set(self)

    def end(self) -> None:
        """Make current what was before, and the job around this one, if there is one."""
        _job.set(self._outer)
        self._kept.restore()

    @property
    def is_innermost(self) -> bool:
        """Whether neither a block nor a request has begun inside it."""
        return self._block is current.block() and self._request is current.get()


_job: ContextVar[Job | None] = ContextVar("instance_lookup_job", default=None)


def running_job() -> Job | None:
    """Return the job that this code is of; ``None``: of none, or of a block or request inside."""
    job = _job.get()
    return job if job is not None and job.is_innermost else None
