"""Tasks of a site, by Django itself where it has them (6.0 and later), else by the backport."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from instance_lookup import (
    InstanceRequired,
    LookupUser,
    acurrent_instance,
    current_instance,
    use_instance,
)
from instance_lookup.access import IsAdmin
from instance_lookup.contrib.django_tasks import install, instance_task
from instance_lookup.request import current

PACKAGE = "django.tasks" if find_spec("django.tasks") else "django_tasks"
"""The group ``django52`` has the backport."""
if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.tasks import task
else:
    task = import_module(PACKAGE).task
Task: Any = import_module(f"{PACKAGE}.base").Task
TaskContext: Any = import_module(PACKAGE).TaskContext
task_backends: Any = import_module(PACKAGE).task_backends
import_module(f"{PACKAGE}.signals")  # hears of overridden settings


def backend(name: str) -> dict[str, str]:
    """Return the settings of a backend of Django's own: ``immediate`` or ``dummy``."""
    return {"BACKEND": f"{PACKAGE}.backends.{name}.{name.title()}Backend"}


def seen() -> list[str | None]:
    """Return the instance that code works in now, its user, and the request that it began in."""
    instance_id, block = current_instance().instance_id, current.block()
    assert block is not None
    return [instance_id, block.context.user.user_id, block.context.request_metadata.request_id]


@instance_task
@task
def where(*args: Any, **kwargs: Any) -> list[Any]:
    return [seen(), list(args), kwargs]


@instance_task()
@task(priority=5)
async def awhere(*args: Any, **kwargs: Any) -> list[Any]:
    assert (await acurrent_instance()) is current_instance()
    return [seen(), list(args), kwargs]


@instance_task(policy=IsAdmin())
@task
def administer() -> list[Any]:
    return seen()


@instance_task(policy=IsAdmin())
@task
async def aadminister() -> list[Any]:
    return seen()


@instance_task
@task(takes_context=True)
def with_context(context: Any, number: int) -> list[Any]:
    return [seen(), context.attempt, number]


@instance_task
@task
def passes_on(depth: int) -> list[Any]:
    """Enqueue another one from inside the task."""
    further = passes_on.enqueue(depth - 1).return_value if depth else []
    return [seen(), *further]


LEFT: list[Any] = []
"""Generators that have not ended."""


def _leave() -> str:
    def rows() -> Iterator[None]:
        with use_instance("acme", user=LookupUser.service()):
            yield

    LEFT.append(rows())
    next(LEFT[-1])
    return current_instance().instance_id


@instance_task
@task
def leaves() -> str:
    """Leave a block behind, as code does that has not read a generator to its end."""
    return _leave()


@instance_task
@task
async def aleaves() -> str:
    return _leave()


@task
def of_a_package(*args: Any) -> list[Any]:
    """As a package has it, that knows of no instance."""
    try:
        return [*seen(), *args]
    except InstanceRequired:
        return ["none", *args]


@task
async def of_a_package_async(*args: Any) -> list[Any]:
    try:
        return [*seen(), *args]
    except InstanceRequired:
        return ["none", *args]


install(of_a_package, of_a_package_async)
