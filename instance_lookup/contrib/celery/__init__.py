"""Celery tasks that work in the instance which was current where they were published.

``messages``: what a message carries, from publisher to worker. ``task``: ``@instance_task``, and
``install`` for tasks that cannot change. ``tasks``: warming and refreshing the cache, as tasks.

Needs the extra ``celery``. Importing it has messages carry what is current; nothing else changes.
"""

from __future__ import annotations

from instance_lookup.contrib.celery.task import InstanceTask, install, instance_task

__all__ = ["InstanceTask", "install", "instance_task"]
