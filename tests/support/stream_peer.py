"""Processes of a site that listens to a stream: ``python -m tests.support.stream_peer``.

Each does as it is told, a line of JSON at a time: see :class:`StreamPeer`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import django
import pytest
from django.conf import settings

from tests.support.caches import cache_config
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.stream_server import StreamServer

ROOT = Path(__file__).parents[2]


class StreamPeer:
    """A process with a site of its own: ``peer("see")``.

    With one of ``FORKS`` it has looked up, and listens, and then forks: ``child=True`` is the
    child. ``life`` is that of the lease, ``renew`` how often it is renewed, both in seconds.
    """

    def __init__(
        self,
        server: StreamServer,
        redis_url: str,
        *,
        prefix: str,
        life: float = 2.0,
        renew: float = 0.2,
        forks: str | None = None,
    ) -> None:
        pairs = [socket.socketpair() for _ in range(1 + bool(forks))]
        theirs = [pair[1].fileno() for pair in pairs]
        about = {"service": server.url, "redis": redis_url, "prefix": prefix}
        words = json.dumps({**about, "life": life, "renew": renew, "forks": forks})
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, words, *map(str, theirs)],
            cwd=ROOT,
            pass_fds=theirs,
        )
        for pair in pairs:
            pair[0].settimeout(60)
            pair[1].close()
        self._sockets = [pair[0] for pair in pairs]
        self._files = [ours.makefile("rw", encoding="utf-8") for ours in self._sockets]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.send(signal.SIGCONT)
        for file, ours in zip(self._files, self._sockets, strict=True):
            file.close()
            ours.close()
        self.process.wait(30)

    def __call__(self, verb: str, *, child: bool = False) -> Any:
        file = self._files[child]
        file.write(json.dumps(verb) + "\n")
        file.flush()
        return json.loads(file.readline())

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def leave(self) -> None:
        """Have it end as a server does that is told to."""
        self._files[0].close()
        self._sockets[0].close()
        self.process.wait(30)


def _obey(verb: str) -> Any:
    from instance_lookup import LookupContext, LookupUser, get_resolver
    from instance_lookup.push.stream import stream

    resolver = get_resolver()
    if verb == "see":
        context = LookupContext(LookupUser.service(), instance_id="acme")
        return resolver.resolve(context).config.r2_bucket
    if verb == "near":
        entry = resolver.cache.tiers.near.get("acme")
        return entry.document.r2_bucket if entry and entry.document else None
    return stream.state


def _main(about: dict[str, Any], *sockets: int) -> None:
    signal.alarm(120)
    config = cache_config("django-redis", redis_url=about["redis"])
    settings.configure(
        INSTALLED_APPS=["instance_lookup"],
        CACHES={"default": {**config, "KEY_PREFIX": about["prefix"]}},
        INSTANCE_LOOKUP={
            "CONFIG_SERVICE_URL": about["service"],
            "CONFIG_SERVICE_STREAM": "/stream",
            "NEAR_CACHE_TTL": 3600,
        },
    )
    patch = pytest.MonkeyPatch()
    for name, seconds in {
        "stream_lease.LIFE": about["life"],
        "stream.RENEW": about["renew"],
        "stream_listener.FIRST_PAUSE": 0.05,
        "stream_listener.LONGEST_PAUSE": 0.2,
    }.items():
        patch.setattr(f"instance_lookup.push.{name}", seconds)
    django.setup()
    mine = sockets[0]
    if sockets[1:]:
        _obey("see")
        wait_until(lambda: _obey("state") == "connected")
        if eval(about["forks"]) == 0:
            mine = sockets[1]
    for other in set(sockets) - {mine}:
        os.close(other)
    with socket.socket(fileno=mine) as theirs, theirs.makefile("rw", encoding="utf-8") as file:
        for line in iter(file.readline, ""):
            file.write(json.dumps(_obey(json.loads(line))) + "\n")
            file.flush()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]), *map(int, sys.argv[2:]))
