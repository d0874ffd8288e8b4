"""``manage.py seed_studio``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from studio.people import PASSWORD
from studio.seed import plant


class Command(BaseCommand):
    """Plant the people of the sandbox's story."""

    help = (
        "Create the sandbox's people, or put them back to their first state; others stay. "
        f"Their password is {PASSWORD!r}."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Plant all or nobody."""
        with transaction.atomic():
            new = plant()
        if options["verbosity"]:
            self.stdout.write(f"planted {', '.join(new)}" if new else "nobody new")
