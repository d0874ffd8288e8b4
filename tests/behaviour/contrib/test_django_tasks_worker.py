"""Django Tasks in a real queue: a database, and the worker of django-tasks-db in its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import task_queue
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.full


def run(folder: Path, *words: str) -> str:
    """Have a process of the site do one command, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", task_queue.__name__, *words],
        env={**os.environ, "TASK_QUEUE_FOLDER": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


def test_worker_runs_each_task_in_its_instance(tmp_path: Path) -> None:
    """What one process enqueues, another one runs, for those who may have it by then."""
    ids = json.loads(run(tmp_path, "fill"))
    run(tmp_path, "db_worker", "--batch", "--no-startup-delay")
    ended = json.loads(run(tmp_path, "report"))
    olgas = ["acme", "1", "r-1"]
    assert {name: ended[key][0] for name, key in ids.items()} == {
        "sync": [olgas, [1, [2.5]], {"name": "x"}],
        "async": [olgas, [], {}],
        "changed": "AccessDenied",
        "not allowed": "AccessDenied",
        "inactive": "AccessDenied",
        "installed": "AccessDenied",
        "outside": ["none"],
    }
    assert SECRET not in str(ended)
