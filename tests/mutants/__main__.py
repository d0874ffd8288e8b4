"""Mutate, test, and name the changes that no test noticed and nobody has accepted.

::

    tox run -e mutants                                       # all; an hour on two cores
    tox run -e mutants -- "instance_lookup.identifiers*"     # those of one module

What ran before is not run again until the code or its tests change; ``rm -r mutants`` starts over.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ACCEPTED = Path(__file__).with_name("accepted.toml")
UNNOTICED = ("survived", "no tests", "suspicious", "segfault")


class Mutant(NamedTuple):
    """A change of one function; the lines are without indentation."""

    function: str
    was: str
    becomes: str


def main() -> int:
    if find_spec("mutmut") is None:
        print("mutmut starts processes by fork, which Windows lacks: run it elsewhere.")
        return 2
    workers = str(os.cpu_count() or 1)
    if _mutmut("run", "--max-children", workers, *sys.argv[1:], shown=True).returncode:
        return 1
    accepted = read_accepted(ACCEPTED.read_text())
    found = {mutant_of(name, _mutmut("show", name).stdout): name for name in _unnoticed()}
    new = found.keys() - accepted.keys()
    for mutant in sorted(new):
        print(f"\nNot noticed: {found[mutant]}\n- {mutant.was}\n+ {mutant.becomes}")
    if not sys.argv[1:]:
        for mutant in sorted(accepted.keys() - found.keys()):
            print(f"\nNoticed by now, or gone: take it out of {ACCEPTED.name}: {mutant}")
    print(f"\n{len(found)} not noticed, {len(new)} of them not accepted.")
    return 1 if new else 0


def mutant_of(name: str, shown: str) -> Mutant:
    """Return the change that ``mutmut show`` has printed of the mutant ``name``.

    Known by its lines: the numbers in the names change whenever a function does.
    """
    lines = [line for line in shown.splitlines() if not line.startswith(("+++", "---"))]
    was, becomes = (
        "\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    function = re.sub("^x_", "", function).removeprefix("xǁ").replace("ǁ", ".")
    return Mutant(f"{module}.{function}", was, becomes)


def read_accepted(text: str) -> dict[Mutant, str]:
    """Return the accepted mutants with their reasons. Raise ``ValueError`` where one has none."""
    accepted: dict[Mutant, str] = {}
    for entry in tomllib.loads(text)["mutant"]:
        mutant = Mutant(entry["function"], entry["was"].strip(), entry["becomes"].strip())
        if not entry["why"].strip():
            raise ValueError(f"{mutant} is accepted without a reason")
        accepted[mutant] = entry["why"]
    return accepted


def _unnoticed() -> list[str]:
    results = _mutmut("results").stdout.splitlines()
    pairs = (line.strip().partition(": ") for line in results)
    return [name for name, _, result in pairs if result in UNNOTICED]


def _mutmut(*words: str, shown: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *words], check=False, text=True, capture_output=not shown
    )


if __name__ == "__main__":
    sys.exit(main())
