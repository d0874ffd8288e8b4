"""Tasks stay what they are to a type checker; and what the blocks around them give."""

from __future__ import annotations

from typing import Any, assert_type

from django.tasks import TaskContext, task

from instance_lookup import InstanceConfig, acurrent_instance, current_instance, use_instance
from instance_lookup.access import IsOwner
from instance_lookup.contrib.django_tasks import install, instance_task


@instance_task
@task
def export(month: int) -> str:
    return assert_type(current_instance(), InstanceConfig).r2_bucket * month


@instance_task(policy=IsOwner())
@task(takes_context=True)
def retried(context: TaskContext[Any, Any], name: str) -> int:
    return context.attempt + len(name)


@task
async def of_a_package() -> None:
    assert_type(await acurrent_instance(), InstanceConfig)


install(of_a_package)


async def publish(user: object) -> None:
    with use_instance("acme", user=user) as config:
        assert_type(config, InstanceConfig)
        assert_type(export.enqueue(5).return_value, str)
        assert_type(retried.using(priority=1).enqueue(name="x").return_value, int)
    async with use_instance("acme", user=user, policy=IsOwner(), request_id="r"):
        assert_type((await export.aenqueue(month=5)).return_value, str)
        await export.aenqueue("May")  # type: ignore[arg-type]
        retried.enqueue(1)  # type: ignore[arg-type]
    use_instance("acme")  # type: ignore[call-arg]
