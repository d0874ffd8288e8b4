#!/usr/bin/env python
"""Run a management command of one of the sandbox's sites.

The site is ``studio`` unless ``--settings config_service.settings`` (or
``DJANGO_SETTINGS_MODULE``) names the other.
"""

from __future__ import annotations

import os
import sys

INSTALL = """\
{} is not installed for this Python. In the folder of the clone:

    python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -e ".[redis,drf]"

Then start {} with .venv/bin/python."""

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except ModuleNotFoundError as exc:
        if exc.name not in {"django", "instance_lookup", "rest_framework"}:
            raise
        sys.exit(INSTALL.format(exc.name, sys.argv[0]))
