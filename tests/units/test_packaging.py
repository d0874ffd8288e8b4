from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.selected import EVERY_CASE, OLDEST, UNTRACED

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "instance_lookup"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60

# Imports the package with an audit hook that notes what Python itself reports: sockets, programs,
# threads, and files opened (the interpreter's own reading of modules excepted).
IMPORT_AND_AUDIT = """
import sys, threading

# Not ours to answer for, and free to do what they like when they are imported.
import django.http, django.core.cache, django.conf, msgspec, requests, urllib3
import asyncio, concurrent.futures, logging, uuid

seen = []

def note(event, args):
    if event == "open" and str(args[0]).endswith((".py", ".pyc", ".so", ".pth")):
        return
    if event == "open" or event.startswith(("socket.", "subprocess.", "os.fork", "_thread.start")):
        seen.append((event, str(args[:1])))

sys.addaudithook(note)
import instance_lookup

from django.conf import settings
print({
    "seen": seen,
    "threads": threading.active_count(),
    "settings": settings.configured,
    "optional": sorted(
        {"rest_framework", "redis", "django_redis", "cryptography", "valkey"} & set(sys.modules)
    ),
})
"""

# Imports every module where no extra can be, but those that are named for one.
IMPORT_WITHOUT_EXTRAS = """
import os, pkgutil, sys
from importlib import import_module
from importlib.util import find_spec

OPTIONAL = "cryptography", "debug_toolbar", "django_redis", "redis", "rest_framework", "valkey"
OPTIONAL += "celery", "health_check", "openfeature", "opentelemetry", "prometheus_client"
NAMED = {"debug_toolbar", "encryption", "health_check", "opentelemetry", "permissions"}
NAMED |= {"celery", "drf", "openfeature", "prometheus"}
NAMED |= set() if find_spec("django.tasks") else {"django_tasks"}  # of a backport there

sys.modules.update(dict.fromkeys(OPTIONAL))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django, instance_lookup
django.setup()

path = instance_lookup.__path__
modules = [info.name for info in pkgutil.walk_packages(path, "instance_lookup.")]
for name in modules:
    if NAMED.isdisjoint(name.split(".")):
        import_module(name)
print(len(modules))
"""


def run_python(code: str) -> str:
    """Run ``code`` in a process without settings, and return what it printed."""
    # Without writing bytecode, which would count as files opened.
    command = [sys.executable, "-B", "-c", code]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_version_named_in_changelog() -> None:
    """A release is described: the newest heading of the changelog is the package's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"^## (.+)$", changelog, re.MULTILINE)
    assert heading is not None
    assert project["version"] in heading[1]


def test_import_without_settings() -> None:
    """The package imports where no settings are configured, and leaves them so."""
    assert ast.literal_eval(run_python(IMPORT_AND_AUDIT))["settings"] is False


def test_import_does_no_io() -> None:
    """Importing opens no file or socket and starts no program and no thread."""
    report = ast.literal_eval(run_python(IMPORT_AND_AUDIT))
    assert report["seen"] == []
    assert report["threads"] == 1


def test_import_without_optional_dependencies() -> None:
    """Installed extras stay unloaded until a module named for them is imported."""
    assert ast.literal_eval(run_python(IMPORT_AND_AUDIT))["optional"] == []


def test_modules_import_without_extras() -> None:
    """Only modules named for an extra need it."""
    assert int(run_python(IMPORT_WITHOUT_EXTRAS)) > 50


def test_ci_calls_the_test_command_of_the_readme() -> None:
    """CI runs the test command that the README shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {
        line.strip()
        for line in readme.splitlines()
        if line.strip().startswith("python3 -m venv") and line.strip().endswith("tox run-parallel")
    }
    assert len(commands) == 1
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands <= {line.strip() for line in lines}


@pytest.mark.extras  # the environment `bare` has no hatchling
def test_sdist_holds_all_that_its_tests_read(tmp_path: Path) -> None:
    """A distribution that packs the sdist can run its tests, and knows where to report to."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    (sdist,) = tmp_path.iterdir()
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "SECURITY.md",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "docs/conf.py",
        "docs/_static/site.css",
        "docs/explanation/security.md",
    }
    assert names >= {"pyproject.toml", "tox.ini", ".ci/run", ".github/workflows/release.yml"}
    assert not {name for name in names if name.endswith((".pyc", ".sqlite3"))}


@pytest.mark.parametrize("path", sorted(OLDEST | UNTRACED | EVERY_CASE), ids=lambda path: path.name)
def test_selected_tests_are_there(path: Path) -> None:
    """No selection names tests that were moved away."""
    assert path.exists()


def test_newest_has_the_machine_to_itself() -> None:
    """The environment ``newest`` runs after all others, since it tests times."""
    environments = set(tox_section("tox")["env_list"])
    assert environments - set(tox_section("testenv:newest{,-full}")["depends"]) == {
        "newest",
        "coverage",
    }


def test_references_in_tox_ini_lead_somewhere() -> None:
    """What one environment takes from another is there: else tox takes the words as they stand."""
    tox = RawConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    found = re.findall(r"\{\[([^\]]+)\](\w+)\}", (ROOT / "tox.ini").read_text(encoding="utf-8"))
    assert found
    assert [each for each in found if not tox.has_option(*each)] == []


def tox_section(name: str) -> dict[str, list[str]]:
    """Return the options of a section of tox.ini, each as its words."""
    tox = RawConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    return {option: value.replace("\\", "").split() for option, value in tox.items(name)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_short(path: Path) -> None:
    """No module grows past 300 lines, no function past 60."""
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    assert [name for name, lines in function_lengths(source) if lines > MAX_FUNCTION_LINES] == []


def function_lengths(source: str) -> list[tuple[str, int]]:
    """Return name and number of lines of every function, methods and nested ones included."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
