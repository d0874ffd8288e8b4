"""The inputs that the fuzzer found: each reaches other code, and none breaks what has to hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the cache is fuzzed sealed, too")

from tests.fuzz.__main__ import CORPUS, NAMES
from tests.fuzz.targets import targets

pytestmark = pytest.mark.extras
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", NAMES)
def test_corpus(name: str) -> None:
    """What the fuzzer tried once is tried in each run of the tests, without it."""
    target = targets()[name]
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) > 10
    for each in inputs:
        try:
            target(each.read_bytes())
        except Exception as error:
            error.add_note(f"of the input {each}")
            raise


def test_every_target_is_named() -> None:
    """The program fuzzes every target that there is."""
    assert sorted(targets()) == list(NAMES) == sorted(path.name for path in CORPUS.iterdir())


def test_targets_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: an entry that is taken for one of another id is noticed."""
    monkeypatch.setattr(
        "instance_lookup.cache.entry._checked", lambda kind, asked, document: document
    )
    with pytest.raises(AssertionError):
        targets()["document"](b'{"instance_id": "other"}')


def test_no_wheel_for_this_python() -> None:
    """Without atheris the program says what it needs, instead of a traceback."""
    code = "import sys; sys.modules['atheris'] = None\nfrom tests.fuzz.__main__ import main\nmain()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "needs atheris, which has no wheel for Python" in ran.stdout + ran.stderr
