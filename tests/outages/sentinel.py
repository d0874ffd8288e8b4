"""A master, a replica of it and sentinels that promote the replica when the master is gone."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from tests.support.redis_server import RedisServer, find_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "site"
QUORUM = 2
DOWN_AFTER = 0.5
"""Seconds of silence after which a sentinel takes a server for dead."""
HURRY = ("info-period", "300", "publish-period", "200")
"""Milliseconds. Servers before Redis 7 do not know it."""
CONFIG = f"""
sentinel monitor {{name}} 127.0.0.1 {{master}} {QUORUM}
sentinel down-after-milliseconds {{name}} {{down_after:.0f}}
sentinel failover-timeout {{name}} 5000
"""


class SentinelServer(RedisServer):
    """A sentinel of one master.

    ``master`` is its port, ``name`` what clients call it, and ``down_after`` the seconds for which
    it may be silent.
    """

    def __init__(self, master: int, name: str = SERVICE, *, down_after: float = DOWN_AFTER) -> None:
        super().__init__()
        self._config = CONFIG.format(name=name, master=master, down_after=1000 * down_after)

    def _words(self, port: int) -> list[str]:
        # A sentinel rewrites its file, which has to come first.
        config = Path(self.directory) / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\ndir {self.directory}\n{self._config}")
        return [find_server(), str(config), "--sentinel"]


class Watched:
    """A master with a replica, and three sentinels that know all of that.

    ::

        with Watched() as servers:
            servers.master.kill()
            wait_until(lambda: servers.promoted)
    """

    def __init__(self) -> None:
        # The default waits five seconds for other replicas that may want a copy as well.
        self.master, self.replica = (
            RedisServer("--repl-diskless-sync-delay", "0") for _ in range(2)
        )
        self.sentinels: list[SentinelServer] = []
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.master)
            stack.enter_context(self.replica)
            self.replica.command("REPLICAOF", "127.0.0.1", str(self.master.port))
            wait_until(self.replicates, 10)
            for _ in range(QUORUM + 1):
                self.sentinels.append(stack.enter_context(SentinelServer(self.master.port)))
                self._hurry(self.sentinels[-1])
            wait_until(self.watch, 15)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._running.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    @property
    def promoted(self) -> bool:
        """Tell whether all sentinels name the replica as the master."""
        return all(about["port"] == self.replica.port for about in self._told())

    def replicates(self) -> bool:
        """Tell whether the replica has all that the master has."""
        about = _replication(self.replica)
        return bool(about["role"] == "slave" and about["master_link_status"] == "up")

    def in_step(self) -> bool:
        """Tell whether the replica has what the master had when this was called."""
        there = _replication(self.master)["master_repl_offset"]
        return bool(_replication(self.replica)["slave_repl_offset"] >= there)

    def demoted(self) -> bool:
        """Tell whether the old master, which came back, has become a replica."""
        return bool(_replication(self.master)["role"] == "slave")

    def watch(self) -> bool:
        """Tell whether each sentinel knows the replica and the other sentinels."""
        return all(
            (about["num-slaves"], about["num-other-sentinels"]) == (1, QUORUM)
            for about in self._told()
        )

    def _hurry(self, sentinel: SentinelServer) -> None:
        """Have a sentinel check more often than every ten seconds, where it can be told to."""
        import redis

        with redis.Redis(port=sentinel.port) as client, suppress(redis.ResponseError):
            client.execute_command("SENTINEL", "DEBUG", *HURRY)

    def _told(self) -> Iterator[dict[str, Any]]:
        import redis

        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port) as client:
                yield client.sentinel_master(SERVICE)


def _replication(server: RedisServer) -> dict[str, Any]:
    import redis

    with redis.Redis(port=server.port) as client:
        about: dict[str, Any] = client.info("replication")
    return about


def watched_config(servers: Watched, **options: Any) -> dict[str, Any]:
    """Return the entry of ``CACHES`` for a cache of django-redis that asks sentinels.

    As the README has it: reads go to the master as well, with the client that is the default.
    """
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    name = f"tests-{uuid4().hex[:12]}"
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://{SERVICE}/0?client_name={name}",
        "KEY_PREFIX": name,
        "OPTIONS": {
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": servers.addresses,
            "SENTINEL_KWARGS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
            **options,
        },
    }


@contextmanager
def use_watched(servers: Watched, alias: str = "watched") -> Iterator[str]:
    """Provide a cache on them under ``alias``, and close its connections afterwards."""
    config = watched_config(servers)
    with override_settings(CACHES={**settings.CACHES, alias: config}):
        try:
            yield alias
        finally:
            _disconnect(caches[alias])


def _disconnect(cache: Any) -> None:
    client = cache.client
    for server in client._server:
        pool = client.connection_factory._pools.pop(server, None)
        if pool is not None:
            pool.disconnect()
    manager = getattr(client.connection_factory, "_sentinel", None)
    for sentinel in manager.sentinels if manager else ():
        sentinel.connection_pool.disconnect()
