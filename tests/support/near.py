"""What tests of the near cache share: entries, caches with a channel, and processes.

``python -m tests.support.near`` is such a process, see :class:`Peer`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

import django
from django.conf import settings
from django.test import override_settings
from msgspec import Raw

from instance_lookup import (
    InstanceConfig,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
)
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.entry import Entry
from instance_lookup.cache.pubsub import Channel, _channels, channel_of
from tests.support.caches import cache_config
from tests.support.lookups import acme, asks
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.base import Document, NotModified, Query

ALIAS = "instances"
BACKENDS = ("django-redis", "redis", "django-valkey")
ROOT = Path(__file__).parents[2]
LONG = 30.0
"""Seconds that are enough on any machine."""


def entry(
    asked: str = "acme", *, at: float, ttl: float = 300.0, exists: bool = True, size: int = 2
) -> Entry[InstanceConfig]:
    """Return an entry as it was fetched at the moment ``at``."""
    document = InstanceConfig(instance_id=asked) if exists else None
    raw = Raw(b"{}".ljust(size))
    return Entry(document=document, raw=raw, cached_at=at, ttl=ttl, generation="e.o.", etag=None)


class Counting(DictConfigService):
    """A service whose every answer is another version."""

    def __init__(self) -> None:
        super().__init__({"acme": acme("")}, {"shop": "acme"})
        self.answers = 0

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        self.answers += 1
        for name in self.instances:
            self.instances[name] = acme(f"{os.getpid()}-{self.answers}", instance_id=name)
        return super().get_instance(instance_id, query)


def near_config(backend: str, url: str) -> dict[str, Any]:
    """Return the settings of a cache, with a key prefix of its own, of one of ``BACKENDS``."""
    if backend != "django-valkey":
        return cache_config(backend, redis_url=url)
    name = f"tests-{uuid4().hex[:12]}"
    return {
        "BACKEND": "django_valkey.cache.ValkeyCache",
        "LOCATION": f"{url.replace('redis:', 'valkey:')}?client_name={name}",
        "KEY_PREFIX": name,
        "OPTIONS": {"SOCKET_TIMEOUT": 1.0},
    }


@contextmanager
def near_caches(**configs: dict[str, Any]) -> Iterator[None]:
    """Provide caches, and end what listens to them before they are no more."""
    names = {f"instance-lookup-{alias}" for alias in configs}
    # Of tests before, which are told to end, and look up by an alias where to listen.
    wait_until(lambda: not any(each.name in names for each in threading.enumerate()), LONG)
    before = dict(_channels)
    _channels.clear()
    with override_settings(CACHES={**settings.CACHES, **configs}):
        try:
            yield
        finally:
            for channel in _channels.values():
                end(channel)
            _channels.clear()
            _channels.update(before)


def end(channel: Channel) -> None:
    """Remove all hearers of the channel, and wait until its thread has ended."""
    channel._hearers.clear()
    wait_until(lambda: channel._thread is None, LONG)


def near_resolver(alias: str = ALIAS, **options: Any) -> InstanceResolver:
    """Return a resolver whose near cache keeps entries for an hour unless a change is heard."""
    service = options.pop("config_service_backend", None) or Counting()
    return InstanceResolver(
        cache_alias=alias,
        config_service_backend=service,
        near_cache_size=options.pop("near_cache_size", None),
        near_cache_ttl=3600.0,
        **options,
    )


def channel(alias: str = ALIAS) -> Channel:
    """Return the channel of an alias, which has one."""
    found = channel_of(alias)
    assert found is not None
    return found


def is_sure(alias: str = ALIAS) -> bool:
    """Tell whether the channel is up, so that near entries may be used."""
    return channel(alias).sure_until > monotonic()


def at_hand(resolver: InstanceResolver, asked: str = "acme") -> str | None:
    """Return the version that takes no I/O."""
    found = resolver.cache.tiers.near.get(asked)
    return found.document.r2_bucket if found is not None and found.document else None


def seen(resolver: InstanceResolver, asked: str = "acme") -> str:
    """Return the version that a lookup gets, or the name of its error."""
    try:
        return resolver.resolve(asks(instance_id=asked)).config.r2_bucket
    except InstanceLookupError as exc:
        return type(exc).__name__


def settled(resolver: InstanceResolver, alias: str = ALIAS) -> str:
    """Look up until the version is in the near cache and the channel is up; return it."""

    def is_at_hand() -> bool:
        seen(resolver)
        return at_hand(resolver) is not None and is_sure(alias)

    wait_until(is_at_hand, LONG)
    return cast("str", at_hand(resolver))


class Hearer:
    """Notes what it is told."""

    ids = re.compile(".*", re.DOTALL)

    def __init__(self) -> None:
        self.told: list[tuple[str | None, str | None]] = []
        self.event = Event()

    def hear(self, kind: str | None, asked: str | None) -> None:
        self.told.append((kind, asked))
        self.event.set()

    def doubt(self) -> None:
        """Do nothing: a hearer has no entries to drop."""


def wait_for_delivery(alias: str = ALIAS) -> None:
    """Wait until all that was published so far has been heard."""
    hearer, mark = Hearer(), uuid4().hex
    channel(alias).listen(hearer)
    wait_until(lambda: is_sure(alias), LONG)
    channel(alias).publish("instance", mark)
    wait_until(lambda: ("instance", mark) in hearer.told, LONG)


class Peer:
    """A process with a resolver of its own, which does as it is told: ``peer("see", "acme")``.

    With one of ``FORKS`` it has looked up before, and then forked: the child is the second one.
    """

    def __init__(self, config: dict[str, Any], *, forks: str | None = None) -> None:
        pairs = [socket.socketpair() for _ in range(1 + bool(forks))]
        theirs = [pair[1].fileno() for pair in pairs]
        about = json.dumps(
            {"url": config["LOCATION"], "prefix": config["KEY_PREFIX"], "forks": forks}
        )
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.near", about, *map(str, theirs)],
            cwd=ROOT,
            pass_fds=theirs,
        )
        for pair in pairs:
            pair[0].settimeout(2 * LONG)
            pair[1].close()
        self._sockets = [pair[0] for pair in pairs]
        self._files = [ours.makefile("rw", encoding="utf-8") for ours in self._sockets]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for file, ours in zip(self._files, self._sockets, strict=True):
            file.close()
            ours.close()
        self._process.wait(30)

    def __call__(self, verb: str, *args: str, child: bool = False) -> Any:
        self.tell(verb, *args, child=child)
        return self.answer(child=child)

    def tell(self, verb: str, *args: str, child: bool = False) -> None:
        """Say what to do, without waiting."""
        self._files[child].write(json.dumps([verb, *args]) + "\n")
        self._files[child].flush()

    def answer(self, *, child: bool = False) -> Any:
        return json.loads(self._files[child].readline())

    def dismiss_child(self) -> None:
        """Have the child end."""
        self._files[1].close()
        self._sockets[1].close()


def watch(resolver: InstanceResolver, asked: str = "acme") -> float:
    """Return the moment at which the entry has left the near cache."""
    give_up = monotonic() + LONG
    while at_hand(resolver, asked) is not None and monotonic() < give_up:
        sleep(0.0002)
    return monotonic()


def obey(resolver: InstanceResolver, verb: str, *args: str) -> Any:
    """Do what another process wants; it can see no more of this one than what it returns."""
    service, cache = cast("Counting", resolver.backend), resolver.cache

    def lose() -> None:
        service.instances.clear()
        with suppress(InstanceNotFound):
            resolver.refresh("acme")

    verbs: dict[str, Any] = {
        "settle": lambda: settled(resolver, "default"),
        "see": lambda *asked: seen(resolver, *asked),
        "at_hand": lambda: at_hand(resolver),
        "watch": lambda: watch(resolver),
        "invalidate": cache.invalidate,
        "invalidate_all": resolver.invalidate_all_caches,
        "expire": cache.expire,
        "block": lambda asked: resolver.block_instance(asked, 3600),
        "unblock": resolver.unblock_instance,
        "lose": lose,
    }
    return verbs[verb](*args)


def main(about: dict[str, str], *sockets: int) -> None:
    signal.alarm(120)
    config = cache_config("django-redis", redis_url="redis://unused")
    config |= {"LOCATION": about["url"], "KEY_PREFIX": about["prefix"]}
    settings.configure(CACHES={"default": config})
    django.setup()
    resolver, mine = near_resolver("default"), sockets[0]
    if sockets[1:]:
        settled(resolver, "default")
        if eval(about["forks"]) == 0:
            mine = sockets[1]
    for other in set(sockets) - {mine}:
        os.close(other)
    with socket.socket(fileno=mine) as theirs, theirs.makefile("rw", encoding="utf-8") as file:
        for line in iter(file.readline, ""):
            file.write(json.dumps(obey(resolver, *json.loads(line))) + "\n")
            file.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *map(int, sys.argv[2:]))
