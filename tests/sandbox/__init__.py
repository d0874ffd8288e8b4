"""Tests of ``sandbox_project``, which is no package: its sites lie beside its ``manage.py``."""

from __future__ import annotations

import sys
from pathlib import Path

_SANDBOX = str(Path(__file__).parents[2] / "sandbox_project")

if _SANDBOX not in sys.path:
    sys.path.insert(0, _SANDBOX)
