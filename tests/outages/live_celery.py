"""A Celery worker of the fleet's site; the environment names the folder it works in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery


def make_app(folder: Path) -> Any:
    """Return an app whose broker and results are files in the folder."""
    app = Celery("live", broker="filesystem://", backend=folder.as_uri())
    app.conf.broker_transport_options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.1,
    }
    return app


if "CELERY_FOLDER" in os.environ:
    from tests.outages.live_fleet import look_up

    app = make_app(Path(os.environ["CELERY_FOLDER"]))

    @app.task(name="look_up")  # type: ignore[untyped-decorator]
    def look_up_in_worker(instance_id: str) -> tuple[str, int]:
        return look_up(instance_id), os.getpid()
