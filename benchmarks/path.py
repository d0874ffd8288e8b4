"""Count how far a lookup goes through the package: ``python -m benchmarks.path [--json]``.

It uses public names only, and nothing else of ``benchmarks``, so that it counts an older checkout
as well: ``PYTHONPATH=CHECKOUT python -P benchmarks/path.py``.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
settings.configure(
    INSTALLED_APPS=["instance_lookup"], CACHES={"default": {"BACKEND": LOCMEM, "LOCATION": "path"}}
)
django.setup()

import instance_lookup
from instance_lookup import ConfigServiceUnavailable, InstanceResolver, LookupContext, LookupUser
from instance_lookup.backends.memory import DictConfigService

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    Counts = dict[str, int]
    Lookup = Callable[[], object]

ROUNDS = 7


class Recorder:
    """Writes down each function of the package that is called during ``count``, in all threads.

    Threads have their profile from their start, and outlive a lookup: so it is installed once, and
    told when to listen. A generator that goes on counts as a call.
    """

    def __init__(self) -> None:
        self._prefix = f"{Path(instance_lookup.__file__).parent}/"
        self._called: list[CodeType] | None = None

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        called = self._called  # read once: another thread may end the count meanwhile
        if called is None or event != "call":
            return
        code = frame.f_code
        # Python 3.11 calls a comprehension, and later ones do not.
        if code.co_filename.startswith(self._prefix) and not code.co_name.endswith("comp>"):
            called.append(code)

    def count(self, lookup: Lookup) -> Counts:
        called: list[CodeType] = []
        self._called = called
        lookup()
        self._called = None
        return counts(called)


def counts(called: list[CodeType]) -> Counts:
    """Return how many calls, of what, and how often they went back to a file that they had left."""
    files = [code.co_filename for code in called]
    owners = {(code.co_filename, code.co_qualname.rpartition(".")[0]) for code in called}
    changes = sum(left != entered for left, entered in pairwise(files))
    return {
        "calls": len(called),
        "functions": len({(code.co_filename, code.co_qualname) for code in called}),
        "classes": len({own for own in owners if own[1] and not own[1].endswith("<locals>")}),
        "files": len(set(files)),
        "changes": changes,
        "returns": changes + 1 - len(set(files)),
    }


def prepare(key: str, *, near: bool = False, warm: bool = True, stale: bool = False) -> Lookup:
    """Return a lookup by a resolver that has answered for another instance before."""
    config: dict[str, Any] = {"metadata": {"owner": "1"}}
    service = DictConfigService({"other": config, key: config})
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=100 if near else 0)
    for known in ("other", key) if warm else ("other",):
        for _ in range(2):
            resolver.resolve(LookupContext(LookupUser("1"), known))
    if stale:
        resolver.cache.expire(key)
        service.failure = ConfigServiceUnavailable("down")
    context = LookupContext(LookupUser("1"), key)
    return lambda: resolver.resolve(context)


KINDS = {"near": {"near": True}, "shared": {}, "miss": {"warm": False}, "stale": {"stale": True}}


def main(*flags: str) -> None:
    logging.disable()  # the service is meant to fail
    recorder = Recorder()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    found = {}
    for kind, options in KINDS.items():
        rounds = [recorder.count(prepare(f"{kind}-{n}", **options)) for n in range(ROUNDS)]
        found[kind] = min(rounds, key=lambda each: each["calls"])  # others waited for a thread
    if "--json" in flags:
        print(json.dumps(found))
        return
    print("| lookup |", " | ".join(found["near"]), "|\n|---|" + "---:|" * len(found["near"]))
    for kind, each in found.items():
        print(f"| {kind} |", " | ".join(map(str, each.values())), "|")


if __name__ == "__main__":
    main(*sys.argv[1:])
