"""The way of a request through the package, written down while it goes.

It needs a process of its own: threads have their profile from their start.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.management import call_command
from django.test import Client, override_settings

import instance_lookup
from instance_lookup import get_resolver
from instance_lookup.backends.memory import DictConfigService
from tests.support.insides import has_landed
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ROOT = f"{Path(instance_lookup.__file__).parent}/"
_LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
_CACHE = frozenset(
    ("cache/keyvalue.py", f"DjangoCache.{verb}")
    for verb in ("get_many", "get", "set", "add", "touch", "delete", "count")
)
"""Each is one command to the cache, whatever cache it is."""


class Step(NamedTuple):
    """A step, and the function of the package that makes it."""

    name: str
    about: str
    file: str
    function: str


STEPS = (
    Step(
        "Middleware",
        "attaches a lazy lookup: no I/O",
        "middleware.py",
        "InstanceConfigMiddleware.__call__",
    ),
    Step("The view reads it", "request.instance_config", "request/lookup.py", "RequestLookup.get"),
    Step("Who asks", "USER_CONTEXT, of request.user", "users.py", "user_context"),
    Step(
        "Which instance",
        "IDENTIFIERS, in their order",
        "identifiers.py",
        "HeaderIdentifier.identify",
    ),
    Step("Memory of this process", "NEAR_CACHE_TTL", "cache/near.py", "NearTier.get"),
    Step("Shared cache", "CACHE_ALIAS", "cache/shared.py", "SharedTier.read"),
    Step(
        "One flight",
        "for all threads of a process",
        "concurrency/single_flight.py",
        "SingleFlight.join",
    ),
    Step("One lease", "for all processes", "fetching/leased_fetcher.py", "LeasedFetcher.take"),
    Step(
        "Config Service",
        "CONFIG_SERVICE_TIMEOUT",
        "backends/memory.py",
        "DictConfigService.get_instance",
    ),
    Step("Store", "under the generation read before", "cache/shared.py", "SharedTier.write"),
    Step("Access", "ACCESS_POLICY", "access/__init__.py", "authorize"),
)
_PLACES = {(step.file, step.function): place for place, step in enumerate(STEPS)}


class Route(NamedTuple):
    """The way of one request."""

    steps: tuple[int, ...]
    """The places in ``STEPS`` that it passed, in the order of their first time."""
    cache: int
    """Commands to the cache."""
    calls: int
    """Calls of the Config Service."""
    status: int
    answer: str
    """The source of the configuration, or the type of the error."""


class _Recorder:
    """Notes each function of the package that is called while it is ``on``, in all threads."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str]] | None = None

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        called, code = self.called, frame.f_code
        if event == "call" and called is not None and code.co_filename.startswith(_ROOT):
            called.append((code.co_filename.removeprefix(_ROOT), code.co_qualname))


_recorder = _Recorder()


def record() -> None:
    """Begin to listen, and make the tables of users. Call it before any lookup of the process."""
    assert not [each for each in threading.enumerate() if each.name.startswith("instance-lookup")]
    call_command("migrate", "auth", verbosity=0)
    threading.setprofile(_recorder)
    sys.setprofile(_recorder)


class Site:
    """A site whose Config Service a caller can change."""

    def __init__(self, name: str) -> None:
        config = {"metadata": {"owner": "1"}}
        self.service = DictConfigService({"other": config, name: config})
        self._name = name

    @contextmanager
    def running(self) -> Iterator[Site]:
        """Have this process be the site. Its resolver has answered for another instance before."""
        options: dict[str, Any] = {
            "CONFIG_SERVICE_BACKEND": self.service,
            "NEAR_CACHE_SIZE": 100,
            # None runs out on a machine with much else to do.
            **dict.fromkeys(("NEAR_CACHE_TTL", "SOFT_TIMEOUT", "CONFIG_SERVICE_TIMEOUT"), 60.0),
        }
        with override_settings(
            CACHES={"default": {"BACKEND": _LOCMEM, "LOCATION": "pictures"}},
            INSTANCE_LOOKUP=options,
            ROOT_URLCONF="tests.pictures.site",
            MIDDLEWARE=[
                "tests.pictures.site.with_user",
                "instance_lookup.middleware.InstanceConfigMiddleware",
            ],
        ):
            self.ask("other")
            yield self

    def ask(self, name: str | None = None, user: str | None = "1") -> Route:
        """Return the way of a request of ``user`` that names the instance (blank: none)."""
        name = self._name if name is None else name
        headers = {"x-instance-id": name, "x-user": user}
        calls = len(self.service.calls)
        called: list[tuple[str, str]] = []
        _recorder.called = called
        response = Client().get(
            "/where/", headers={key: value for key, value in headers.items() if value}
        )
        wait_until(lambda: has_landed(get_resolver()))
        _recorder.called = None
        passed = dict.fromkeys(_PLACES[each] for each in called if each in _PLACES)
        said: dict[str, Any] = response.json()
        return Route(
            tuple(passed),
            sum(each in _CACHE for each in called),
            len(self.service.calls) - calls,
            response.status_code,
            said.get("source") or said["type"].rpartition(":")[2],
        )
