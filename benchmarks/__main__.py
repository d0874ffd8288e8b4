"""Run the measurements and print their tables."""

from __future__ import annotations

import os
import platform

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from benchmarks import attach, shared_hit
from benchmarks.rounds import table


def main() -> None:
    print(
        f"Python {platform.python_version()}, Django {django.__version__}, {platform.machine()}\n"
    )
    print("Cached resolve() on django-redis, client and server on one core:\n")
    print(table(shared_hit.measure(), against="get_many + decode"), end="\n\n")
    print("A request that never touches the config:\n")
    print(table(attach.measure(), against="WSGI without"))


if __name__ == "__main__":
    main()
