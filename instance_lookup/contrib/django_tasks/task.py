"""Tasks that carry the instance in which they are enqueued. No package of tasks is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial, wraps
from hashlib import sha256
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar, overload

from django.utils.module_loading import import_string

from instance_lookup.exceptions import InstanceRequired
from instance_lookup.jobs.carried import read, sign
from instance_lookup.jobs.publishing import acarried_now, carried_now
from instance_lookup.jobs.running import ablock_for, block_for
from instance_lookup.request import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.access import Allows
    from instance_lookup.jobs.carried import Carried

T = TypeVar("T")

CARRIED = "_instance_lookup"
"""The keyword argument that is added when a task is enqueued, and removed before it runs: queues
keep arguments only. Its value is signed for this task with these arguments."""


@overload
def instance_task(task: T) -> T: ...
@overload
def instance_task(*, policy: Allows | None = None) -> Callable[[T], T]: ...
def instance_task(task: Any = None, *, policy: Allows | None = None) -> Any:
    """Have a ``task`` run in the instance in which it was enqueued. It stands above ``@task``.

    ``enqueue`` and ``aenqueue`` raise ``InstanceRequired`` where no instance is current, and what a
    lookup raises for the request that they are called in. When it runs, the user of then must be
    allowed to have the instance, by ``policy`` too, where one is given: else the task fails.

    Raises ``TypeError`` for what is no task, and for a task that has this already.
    """
    if task is None:
        return partial(instance_task, policy=policy)
    _check(task)
    values = {field.name: getattr(task, field.name) for field in fields(task)}
    values["func"] = _in_its_instance(task, policy, insist=True)
    return _carrying(task.__class__, _Insisting)(**values)


def install(*tasks: Any) -> None:
    """Have ``tasks`` that cannot change, such as those of a package, carry the instance as well.

    Each is changed in place, so call this in ``ready()`` of an app, in publishers and workers
    alike. What is enqueued where no instance is current carries none, and runs without. Raises
    ``TypeError`` as :func:`instance_task` does.
    """
    for task in tasks:
        _check(task)
        # Past the dataclass, which is frozen.
        object.__setattr__(task, "func", _in_its_instance(task, None, insist=False))
        object.__setattr__(task, "__class__", _carrying(task.__class__, _Carrying))


class _Carrying:
    """Adds what is carried, if anything is, to the arguments of a task that is enqueued."""

    __slots__ = ()
    insists = False
    """Whether there must be an instance."""
    module_path: str
    """Of the task that this is part of."""

    def enqueue(self: Any, *args: Any, **kwargs: Any) -> Any:
        added = _signed(self, carried_now(insist=self.insists), args, kwargs)
        return super().enqueue(*args, **kwargs, **added)  # type: ignore[misc]

    async def aenqueue(self: Any, *args: Any, **kwargs: Any) -> Any:
        added = _signed(self, await acarried_now(insist=self.insists), args, kwargs)
        return await super().aenqueue(*args, **kwargs, **added)  # type: ignore[misc]

    def __reduce__(self: Any) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["func"]  # the task that is found has it
        return _restore, (self.module_path, values)


class _Insisting(_Carrying):
    __slots__ = ()
    insists = True


def _check(task: Any) -> None:
    if isinstance(task, _Carrying):
        raise TypeError(f"Task {task.module_path} carries its instance already.")
    if not hasattr(task, "enqueue"):
        raise TypeError("@instance_task takes what @task returns: put it above @task.")


def _restore(path: str, values: dict[str, Any]) -> Any:
    """Return the task of a pickle: its class cannot be imported by a name, the task can."""
    return replace(import_string(path), **values)


@cache
def _carrying(kind: Any, how: type[_Carrying]) -> Any:
    """Return the class of tasks like these that carry; it shows itself as ``kind``."""
    shown = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (how, kind), {"__slots__": (), **shown})


def _signed(
    task: Any, carried: Carried | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    """Return the argument that is added; none where nothing is carried, and need not be."""
    if carried is None and not task.insists:
        return {}
    name = task.module_path
    return {CARRIED: sign(_there(carried, name), name, _digest(args, kwargs))}


def _in_its_instance(task: Any, policy: Allows | None, *, insist: bool) -> Callable[..., Any]:
    """Return the function of a task, run in the instance that its arguments carry.

    Where it has to have one and they carry none, it runs in what is current: a site may call it
    without a queue. A worker has nothing current.
    """
    func, name = task.func, task.module_path
    first = 1 if task.takes_context else 0  # the context is no argument of the one who enqueued

    def taken(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Carried | None:
        text = kwargs.pop(CARRIED, None)
        return None if text is None else read(text, name, _digest(args[first:], kwargs))

    if iscoroutinefunction(func):

        @wraps(func)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            carried = taken(args, kwargs)
            with current.Kept():  # a worker has the next task run in the same context
                if carried is None and not insist:
                    return await func(*args, **kwargs)
                carried = carried or _there(await acarried_now(), name)
                async with await ablock_for(carried, policy=policy):
                    return await func(*args, **kwargs)

        return arun

    @wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        carried = taken(args, kwargs)
        with current.Kept():
            if carried is None and not insist:
                return func(*args, **kwargs)
            with block_for(carried or _there(carried_now(), name), policy=policy):
                return func(*args, **kwargs)

    return run


def _there(carried: Carried | None, name: str) -> Carried:
    if carried is None:
        raise InstanceRequired(
            f"Task {name!r} runs in an instance, and none is current here: enqueue it in a "
            "request, in a task that carries one, or inside 'with use_instance(instance_id, "
            "user=...):'."
        )
    return carried


def _digest(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the digest of arguments, the same before and after a queue had them as JSON.

    A database may keep ``5.0`` as ``5``, and ``1e30`` as an integer.
    """
    text = json.dumps([args, kwargs], default=_as_json)
    same = json.loads(text, parse_float=_number)
    return sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def _as_json(value: object) -> object:
    """Return what Django makes of an argument that ``json`` does not know."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"an argument of a task must be JSON, not {type(value).__name__}")


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number
