"""Run DRF's own tests, from its sdist, on a site that has the app installed: see tox.ini."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

DRF = "djangorestframework"
HERE = Path(__file__).parent


def unpacked(directory: Path) -> Path:
    """Download the sdist of the DRF that is installed here, and return where it lies."""
    there = version(DRF)
    options = ["--quiet", "--no-deps", "--no-binary", DRF, "--dest", str(directory)]
    command = [sys.executable, "-m", "pip", "download", *options, f"{DRF}=={there}"]
    subprocess.run(command, check=True)
    with tarfile.open(directory / f"{DRF}-{there}.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    return directory / f"{DRF}-{there}"


def main() -> int:
    directory, *options = sys.argv[1:]
    plugin = ["-p", "with_instance_lookup", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *options],
        cwd=unpacked(Path(directory)),
        env={**os.environ, "PYTHONPATH": str(HERE)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
