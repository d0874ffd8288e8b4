"""Check the installed wheel, without a test runner: nothing but the wheel is installed here.

Started with ``python -I``, so that the working tree cannot stand in for a file that is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import tomllib
from pathlib import Path

OPTIONAL = ("cryptography", "django_redis", "redis", "rest_framework")


def check(tree: Path) -> list[str]:
    """Return what is wrong with the wheel made from ``tree``."""
    distribution = importlib.metadata.distribution("instance-lookup")
    shipped = {str(file) for file in distribution.files or ()}
    return [*_files(tree, shipped), *_metadata(tree, distribution), *_import(tree)]


def _files(tree: Path, shipped: set[str]) -> list[str]:
    package = tree / "instance_lookup"
    sources = {
        str(path.relative_to(tree))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    foreign = {
        name
        for name in shipped
        if not name.startswith(("instance_lookup/", "instance_lookup-")) and ".." not in name
    }
    licences = [name for name in shipped if name.endswith("LICENSE")]
    return [
        *(f"missing from the wheel: {name}" for name in sorted(sources - shipped)),
        *(f"does not belong into the wheel: {name}" for name in sorted(foreign)),
        *([] if "instance_lookup/py.typed" in shipped else ["py.typed is missing"]),
        *([] if licences else ["the licence is missing"]),
    ]


def _metadata(tree: Path, distribution: importlib.metadata.Distribution) -> list[str]:
    meta = distribution.metadata
    wanted = ("Summary", "License-Expression", "Requires-Python", "Project-URL", "Keywords")
    problems = [f"metadata without {name}" for name in wanted if name not in meta]
    extras = set(meta.get_all("Provides-Extra") or ())
    if not extras >= {"all", "drf", "encryption", "redis"}:
        problems.append(f"extras are {sorted(extras)}")
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if distribution.version != project["version"]:
        problems.append(f"version {distribution.version} is not {project['version']}")
    return problems


def _import(tree: Path) -> list[str]:
    problems = [f"{name} is installed" for name in OPTIONAL if _installed(name)]
    import instance_lookup

    if tree in Path(instance_lookup.__file__).parents and ".tox" not in instance_lookup.__file__:
        problems.append("imported from the working tree")
    missing = [name for name in instance_lookup.__all__ if not hasattr(instance_lookup, name)]
    problems += [f"in __all__, but not there: {name}" for name in missing]

    from django.conf import settings

    if settings.configured:
        problems.append("the import configured or read the settings")
    return problems


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    problems = check(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(problems) or None)
