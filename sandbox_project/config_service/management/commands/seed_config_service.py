"""``manage.py seed_config_service``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config_service.seed import Seed, plant, plant_admin

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Plant the instances of the sandbox's story, and a superuser."""

    help = (
        "Create the sandbox's instances, project and superuser, or put them back to their first "
        "state; other rows stay. Running it twice changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options; each has a variable of the environment for its default."""
        for name, variable, default, text in (
            ("--owner", "SANDBOX_OWNER_ID", "2", "user id of the owner of studio-a"),
            ("--other-owner", "SANDBOX_OTHER_OWNER_ID", "3", "user id of the owner of studio-b"),
            ("--worker-url", "SANDBOX_WORKER_URL", "http://127.0.0.1:8002/jobs", "the worker"),
            ("--admin-name", "CONFIG_SERVICE_ADMIN_NAME", "admin", "name of the superuser"),
            ("--admin-password", "CONFIG_SERVICE_ADMIN_PASSWORD", "sandbox", "its password"),
        ):
            value = os.environ.get(variable) or default
            parser.add_argument(
                name, default=value, help=f"{text} (or {variable}; default {default})"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Plant all or nothing."""
        seed = Seed(options["owner"], options["other_owner"], options["worker_url"])
        try:
            with transaction.atomic():
                changed = plant(seed)
                changed.append(plant_admin(options["admin_name"], options["admin_password"]))
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        if options["verbosity"]:
            self._report([name for name in changed if name])

    def _report(self, changed: list[str]) -> None:
        for name in changed:
            self.stdout.write(f"planted {name}")
        if not changed:
            self.stdout.write("nothing to do")
