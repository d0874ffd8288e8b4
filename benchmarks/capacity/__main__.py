"""Say what a fleet asks of the Config Service and of Redis: ``python -m benchmarks.capacity``."""

from __future__ import annotations

import argparse
import sys
from math import isfinite
from typing import TYPE_CHECKING

from benchmarks.capacity.phases import simulate
from benchmarks.capacity.plan import Plan
from benchmarks.capacity.table import text

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = {
    "instances": "instances that requests name",
    "rps": "requests a second, of all processes together; each looks up one instance",
    "processes": "processes that serve requests; each has a near cache of its own",
    "skew": "exponent of Zipf's law: rank k has a share like 1 / k ** SKEW; 0: all alike",
    "missing": "share of requests that name an instance that does not exist, below 1",
    "missing_ids": "how many different ids these requests name",
    "document": "bytes of the JSON of one configuration",
    "service_time": "seconds that the Config Service takes for an answer",
    "ttl": "CACHE_TTL in seconds",
    "stale_max_age": "STALE_MAX_AGE in seconds",
    "negative_ttl": "NEGATIVE_TTL in seconds",
    "near_ttl": "NEAR_CACHE_TTL in seconds",
    "near_size": "NEAR_CACHE_SIZE, in entries of each process; 0: no near cache",
    "timeout": "CONFIG_SERVICE_TIMEOUT in seconds",
    "soft_timeout": "SOFT_TIMEOUT in seconds",
    "window": "whole seconds for which each phase is watched; the default is the ttl",
    "warm_rate": "calls a second of warm_instance_cache --rate",
    "seed": "of the random numbers: the same seed gives the same output",
}


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    words = sys.argv[1:] if arguments is None else arguments
    given = vars(parser.parse_args(words))
    if given.pop("check"):
        for word in words:
            if word != "--check":
                parser.error(
                    f"--check has a plan of its own, and takes no {word.partition('=')[0]}"
                )
        from benchmarks.capacity.check import main as check  # noqa: PLC0415  # needs Redis

        return check()
    if given["window"] is None:
        given["window"] = max(1, round(given["ttl"]))
    plan = Plan(**given)
    if problem := plan.problem():
        parser.error(problem)
    print(text(plan, simulate(plan)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description="Simulate a fleet of processes that use instance_lookup on one Redis.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="run a small fleet for real, and compare; takes no other option",
    )
    whole = {"instances", "processes", "missing_ids", "document", "window"}
    for name, about in _HELP.items():
        default = None if name == "window" else getattr(Plan(), name)
        kind: Callable[[str], float | None] = _seconds
        if name in whole:
            kind = _whole(least=1)
        elif name in {"near_size", "seed"}:
            kind = _whole(least=0)
        elif name == "skew":
            kind = _number
        elif name == "missing":
            kind = _share
        shown = "" if default is None else " (default: %(default)s)"
        option = f"--{name.replace('_', '-')}"
        unit = "SECONDS" if "seconds" in about else "NUMBER"
        parser.add_argument(option, type=kind, default=default, metavar=unit, help=about + shown)
    parser.add_argument(
        "--refresh-ahead",
        type=_ahead,
        default=Plan().refresh_ahead,
        metavar="SHARE",
        help='REFRESH_AHEAD, a share of the ttl; "off": none (default: %(default)s)',
    )
    return parser


def _whole(*, least: int) -> Callable[[str], int]:
    def read(given: str) -> int:
        if given.isascii() and given.isdigit() and int(given) >= least:
            return int(given)
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, not {given!r}")

    return read


def _number(given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if number < 0 or not isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, not {given!r}")
    return number


def _seconds(given: str) -> float:
    if not (number := _number(given)):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {given!r}")
    return number


def _share(given: str) -> float:
    if (number := _number(given)) >= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, not {given!r}")
    return number


def _ahead(given: str) -> float | None:
    if given == "off":
        return None
    if not 0 < (number := _number(given)) <= 1:
        raise argparse.ArgumentTypeError(f'must be "off", or above 0 and up to 1, not {given!r}')
    return number


if __name__ == "__main__":
    sys.exit(main())
