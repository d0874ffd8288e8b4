#!/usr/bin/env python
"""Run a management command of one of the sandbox's sites.

The site is ``studio`` unless ``--settings config_service.settings`` (or
``DJANGO_SETTINGS_MODULE``) names the other.
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")
    execute_from_command_line(sys.argv)
