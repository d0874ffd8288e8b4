"""Run one scenario: ``python -m benchmarks.scenario NAME [--quick]``. Its results go to stdout."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import django
import msgspec

from benchmarks.results import Effort


def main(name: str, *flags: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    scenario = import_module(f"benchmarks.scenarios.{name}")
    results = scenario.measure(Effort(quick="--quick" in flags))
    sys.stdout.buffer.write(msgspec.json.encode(results))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(*sys.argv[1:])
