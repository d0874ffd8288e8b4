"""A site whose tasks wait in a database: ``python -m tests.support.task_queue COMMAND`` manages it.

``fill``: makes the database and enqueues tasks, and changes some of it afterwards. ``db_worker``:
is the worker of django-tasks-db. ``report``: prints how the tasks ended.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from tests import settings as ours
from tests.support.lookups import SECRET


def configure(folder: Path) -> None:
    """Be the site. Its database and its Config Service are files in the folder."""
    options = {name: value for name, value in vars(ours).items() if name.isupper()}
    database = options["DATABASES"]["default"] | {"NAME": folder / "site.sqlite3"}
    options |= {
        "DATABASES": {"default": database},
        "INSTALLED_APPS": [*options["INSTALLED_APPS"], "django_tasks_db"],
        "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        "INSTANCE_LOOKUP": {
            "CONFIG_SERVICE_BACKEND": "instance_lookup.backends.file.FileConfigService",
            "CONFIG_SERVICE_URL": str(folder / "instances.json"),
        },
    }
    settings.configure(**options)
    django.setup()


def fill(folder: Path) -> None:
    """Enqueue tasks of two users, one of whom is then inactive; change what one of them carries."""
    from django.contrib.auth.models import User
    from django_tasks_db.models import DBTaskResult

    from instance_lookup import use_instance
    from tests.support import task_site

    call_command("migrate", verbosity=0)
    olga, sam = (User.objects.create_user(name) for name in ("olga", "sam"))
    instances = [
        {"instance_id": name, "api_keys": {"render": SECRET}, "metadata": {"owner": str(owner.pk)}}
        for name, owner in (("acme", olga), ("globex", sam))
    ]
    (folder / "instances.json").write_text(json.dumps({"instances": instances}))
    tasks: dict[str, Any] = {}
    with use_instance("acme", user=olga, request_id="r-1"):
        tasks["sync"] = task_site.where.enqueue(1, (2.5,), name="x")
        tasks["async"] = task_site.awhere.enqueue()
        tasks["changed"] = task_site.where.enqueue(3)
        tasks["not allowed"] = task_site.administer.enqueue()
    with use_instance("globex", user=sam):
        tasks["inactive"] = task_site.where.enqueue()
        tasks["installed"] = task_site.of_a_package.enqueue()
    tasks["outside"] = task_site.of_a_package.enqueue()
    User.objects.filter(pk=sam.pk).update(is_active=False)
    changed = DBTaskResult.objects.get(pk=tasks["changed"].id)
    changed.args_kwargs["args"] = [4]
    changed.save()
    json.dump({name: str(result.id) for name, result in tasks.items()}, sys.stdout)


def report() -> None:
    """Print of each task its value, or its error, and what the database keeps of it."""
    from django_tasks_db.models import DBTaskResult

    ended = {
        str(each.pk): [
            each.return_value or each.exception_class_path.rpartition(".")[2],
            json.dumps(each.args_kwargs) + each.traceback,
        ]
        for each in DBTaskResult.objects.all()
    }
    json.dump(ended, sys.stdout)


if __name__ == "__main__":
    here = Path(os.environ["TASK_QUEUE_FOLDER"])
    configure(here)
    match sys.argv[1]:
        case "fill":
            fill(here)
        case "report":
            report()
        case _:
            call_command(*sys.argv[1:])
