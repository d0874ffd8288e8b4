"""Run the measurements, and show them: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks import report
from benchmarks.machine import describe
from benchmarks.report import Report
from benchmarks.results import Result
from benchmarks.scenarios import NAMES

ROOT = Path(__file__).parent.parent


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    done = report.load(options.again) if options.again else None
    found = measured(options.only or ([] if done else NAMES), quick=options.quick)
    if done is not None:
        found.results = {**done.results, **found.results}
        found.quick |= done.quick
        if not options.only:
            found.machine = done.machine
    print(report.text(found))
    if options.json:
        report.save(found, options.json)
    if options.doc:
        report.write_into(options.doc, found)
    if options.plot:
        _draw(found, options.plot)
    return 0


def measured(names: list[str] | tuple[str, ...], *, quick: bool) -> Report:
    """Run each scenario in a process of its own, and return what all of them found."""
    results = {}
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = _scenario(name, quick=quick)
    return Report(machine=describe(), quick=quick, results=results)


def _scenario(name: str, *, quick: bool) -> list[Result]:
    command = [sys.executable, "-m", "benchmarks.scenario", name, *(["--quick"] if quick else [])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()  # not killed: it has servers to end
            raise
    if process.returncode:
        raise SystemExit(f"The scenario {name} ended with {process.returncode}.")
    return msgspec.json.decode(said, type=list[Result])


def _draw(found: Report, path: Path) -> None:
    try:
        from benchmarks.plot import draw  # noqa: PLC0415  # matplotlib is for the plot only
    except ModuleNotFoundError as exc:
        print(f"No plot: {exc.name} is not installed.", file=sys.stderr)
    else:
        draw(found, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="see that it works; times mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG there")
    parser.add_argument("--doc", type=Path, metavar="FILE", help="put it between a page's markers")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="show what --json wrote, with the scenarios of --only measured again",
    )
    return parser


if __name__ == "__main__":
    # As Ctrl-C would: whatever was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
