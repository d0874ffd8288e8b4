"""Django Tasks that know their instance: those of Django 6.0 and later, and of ``django-tasks``.

::

    @instance_task
    @task(queue_name="exports")
    def export(order_id):
        config = current_instance()

``task``: ``@instance_task``, and ``install`` for tasks that cannot change; it takes what is a task
already, of either package. ``tasks``: warming and refreshing the cache, as tasks of the package
that is there.
"""

from __future__ import annotations

from instance_lookup.contrib.django_tasks.task import CARRIED, install, instance_task

__all__ = ["CARRIED", "install", "instance_task"]
