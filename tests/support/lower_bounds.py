"""Whether what is installed is the oldest that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lower_bounds() -> Iterator[tuple[str, str]]:
    """Yield each dependency of the package and of its extras, and the oldest version allowed."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    for text in chain(project["dependencies"], *extras):
        requirement = Requirement(text)
        if requirement.name != project["name"]:  # the extra `all` names the others
            (bound,) = (each.version for each in requirement.specifier if each.operator == ">=")
            yield requirement.name, bound


def above(installed: Callable[[str], str] = version) -> list[str]:
    """Return what is not at its lower bound, given the version that is ``installed`` by name."""
    return [
        f"{name} {installed(name)}, not {bound}"
        for name, bound in lower_bounds()
        if Version(installed(name)) != Version(bound)
    ]
