"""Fuzz each target in turn, or try one input again.

::

    tox run -e fuzz                                    # ten minutes in all
    tox run -e fuzz -- --minutes 60 --target entry
    tox run -e fuzz -- --target entry crash-1f2e…      # the file of an input that failed

An input that fails is written to ``crash-…`` in the folder where this was started. New inputs that
reach more branches are put into the corpus, in place of longer ones: commit them.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("answer", "document", "entry", "request", "stream", "webhook")
ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
SECONDS_OF_ONE_INPUT = 10


def main() -> int:
    arguments = _parse()
    if find_spec("atheris") is None:
        print(
            f"The fuzzer needs atheris, which has no wheel for Python {platform.python_version()} "
            f"on {platform.system()} {platform.machine()}: take CPython 3.11 to 3.14 on "
            "Linux x86_64. tests/units/test_fuzz.py tries the corpus without it."
        )
        return 2
    chosen = [arguments.target] if arguments.target else NAMES
    if arguments.input:
        return _run(arguments.target, str(arguments.input))
    seconds = round(arguments.minutes * 60 / len(chosen))
    failed = [name for name in chosen if not _fuzz(name, seconds)]
    for name in failed:
        print(f"{name}: failed; try its input again: --target {name} crash-…")
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="in all; 10 if not given")
    parser.add_argument("--target", choices=NAMES, help="this one alone")
    parser.add_argument("input", nargs="?", type=Path, help="try this one input, of --target")
    arguments = parser.parse_args()
    if arguments.input and not arguments.target:
        parser.error("an input needs the --target that it is for")
    return arguments


def _fuzz(name: str, seconds: int) -> bool:
    print(f"{name}: {seconds} s", flush=True)
    limits = (f"-max_total_time={seconds}", f"-timeout={SECONDS_OF_ONE_INPUT}", "-max_len=4096")
    return _run(name, str(CORPUS / name), *limits, "-print_final_stats=1") == 0


def _run(name: str, *options: str) -> int:
    one = Path(__file__).with_name("one.py")
    command = [sys.executable, str(one), f"--target={name}", *options]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
