"""``manage.py generate_instance_key``: see docs/reference/commands.md."""

from __future__ import annotations

from typing import Any

from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.management.base import InstanceCommand


class Command(InstanceCommand):
    """Print a new key."""

    help = (
        "Prints a new random key for ENCRYPTION_KEYS, and nothing else. Keep it where you keep"
        " secrets. It needs no settings of instance_lookup, no cache and no Config Service."
    )

    def add_arguments(self, parser: Any) -> None:
        """Take none of its own."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it to standard output, so that it can be piped."""
        self.stdout.write(new_encryption_key())
