"""Bring the pages in docs/reference up to date, or with ``--check`` only say which are not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
from cogapp import Cog

ROOT = Path(__file__).parents[2]
MODULES = "api, checks, commands, errors, metrics, settings, signals"


def main(*options: str) -> int:
    """Run cog on the pages that have its marks. Return 0 if all is done, or up to date."""
    os.chdir(ROOT)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.reference.site"
    django.setup()
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    marked = [str(page) for page in pages if "[[[cog" in page.read_text(encoding="utf-8")]
    action = options or ("-r",)
    prologue = f"from tests.reference import {MODULES}"
    return int(Cog().main(["cog", "-U", "-P", "-p", prologue, "--verbosity=1", *action, *marked]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
