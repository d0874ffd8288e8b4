"""Write the pictures: ``python -m tests.pictures [DIRECTORY]``."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import django

HOME = Path(__file__).parents[2] / "docs" / "explanation" / "pictures"


def main(directory: str = str(HOME)) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    logging.disable()  # the service is meant to fail
    from tests.pictures import freshness, request_path

    # The path first: it listens to threads that start from then on.
    for name, draw in (("request-path", request_path.draw), ("freshness", freshness.draw)):
        Path(directory, f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
