from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.units.test_packaging import PACKAGE, run_python

if TYPE_CHECKING:
    from pathlib import Path


def test_testing_needs_no_test_runner() -> None:
    """A project on unittest has no pytest, and the settings need not be there yet."""
    foreign = "{'pytest', '_pytest', 'hypothesis', 'responses', 'tests'}"
    code = f"import sys, instance_lookup.testing; print(sorted({foreign} & set(sys.modules)))"
    assert run_python(code) == "[]\n"


def test_nothing_imports_testing() -> None:
    """No other module imports ``testing``, so it costs a site nothing in production."""
    assert [path.name for path in PACKAGE.rglob("*.py") if imports_testing(path)] == []


def imports_testing(path: Path) -> bool:
    if path.parent.name == "testing":
        return False
    imports = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return any("instance_lookup.testing" in ast.unparse(node) for node in imports)
