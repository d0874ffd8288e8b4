"""``manage.py send_changes``: the sender as a program of its own, beside that of ``serve``."""

from __future__ import annotations

import signal
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config_service.sender import Sender, sending, tidy

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Send the changes of the outbox."""

    help = "Send changes to the receivers until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Send what is due, and end.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            tidy()
            for url, secrets in settings.WEBHOOKS.items():
                sender = Sender(url, secrets)
                while sender.send_next():
                    pass
            return
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt), sending():
            self.stdout.write("Sending.")
            self.stdout.flush()
            Event().wait()
