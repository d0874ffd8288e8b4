"""Look for known vulnerabilities of what the package installs, all extras included.

pip-audit asks OSV. A vulnerability fails the run. A service that cannot be asked does not, but the
output says so: lint works on a machine without a way out. With ``--required``, as a release has it,
that fails as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OSV = "https://api.osv.dev/v1/query"
# The oldest and the newest: there are packages, such as Django, that differ between them.
PYTHONS = ("3.11", "3.14")
# Its vulnerabilities are known for years.
VULNERABLE = {"package": {"name": "django", "ecosystem": "PyPI"}, "version": "3.2"}


def main() -> int:
    """Return the exit code: 0 also where nothing could be asked, unless that is required."""
    options = parse()
    if fault := unusable(options.osv_url):
        say(f"NOT AUDITED: {options.osv_url} cannot be asked for vulnerabilities ({fault}).")
        say("Nothing is known of what the package installs. Run this where there is a network.")
        return int(options.required)
    with TemporaryDirectory() as folder:
        if options.requirements:
            files = [options.requirements]
        else:
            files = [resolve(version, Path(folder)) for version in PYTHONS]
        return max(audit(file, options.osv_url) for file in files)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail where nothing can be asked")
    parser.add_argument("--osv-url", default=OSV, help="where to ask, by the protocol of OSV")
    parser.add_argument(
        "--requirements", type=Path, help="pinned packages; without it what the package installs"
    )
    return parser.parse_args()


def unusable(url: str) -> str | None:
    """Return why the service does not answer, or not like one that knows vulnerabilities.

    A mirror or a captive portal may answer anything: "none is known" is not believed of one that
    knows none of an old Django either.
    """
    request = Request(url, json.dumps(VULNERABLE).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=15) as answer:
            known = json.load(answer)
    except (OSError, HTTPException, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"
    has_any = isinstance(known, dict) and known.get("vulns")
    return None if has_any else "it knows no vulnerability of Django 3.2"


def resolve(version: str, folder: Path) -> Path:
    """Return a file of what is installed today on that ``version`` of Python, pinned."""
    file = folder / f"{version}.txt"
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", str(PROJECT)]
    command += ["--all-extras", "--python-version", version]
    command += ["--no-header", "--no-annotate", "--output-file", str(file)]
    subprocess.run(command, check=True)
    return file


def audit(requirements: Path, url: str) -> int:
    """Have pip-audit print what it finds, and return its exit code."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    say(f"Auditing {requirements.name}, {len(lines)} packages:")
    command = [sys.executable, "-m", "pip_audit", "--strict", "--progress-spinner", "off"]
    # They are pinned: nothing is left to resolve or install.
    command += ["--no-deps", "--disable-pip", "--requirement", str(requirements)]
    command += ["--vulnerability-service", "osv", "--osv-url", url]
    return subprocess.run(command, check=False).returncode


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # into a pipe: what follows may be written by another process


if __name__ == "__main__":
    sys.exit(main())
