"""``manage.py seed_config_service``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from config_service.seed import plant


class Command(BaseCommand):
    """Plant the instances of the sandbox's story, and a superuser."""

    help = "Put the rows of the sandbox's story into their first state; other rows stay."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            changed = plant()
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        self.stdout.write("\n".join(f"planted {name}" for name in changed) or "nothing to do")
