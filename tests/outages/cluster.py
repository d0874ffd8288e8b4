"""A cluster of three nodes, of which each has a third of the slots and none a replica."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from django.core.cache import caches

from tests.support.documents import blocks
from tests.support.near import near_config
from tests.support.redis_server import RedisServer
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT = 1.0
"""Seconds, of the sockets of a client: the documented ones are too short for a loaded machine."""
SLOTS = (("0", "5460"), ("5461", "10922"), ("10923", "16383"))
OPTIONS = {
    "--cluster-enabled": "yes",
    # Longer than any test: nodes of a machine that stands still take each other for dead, and then
    # answer for no slot.
    "--cluster-node-timeout": "60000",
    "--cluster-require-full-coverage": "no",  # the others go on without a node that is gone
}


class ClusterNode(RedisServer):
    """One node; the nodes talk to each other on a second port."""

    def __init__(self) -> None:
        self.bus = str(free_port())
        super().__init__(*(word for pair in OPTIONS.items() for word in pair))
        self.options += ("--cluster-port", self.bus)


class Cluster:
    """The nodes, which know each other.

    ::

        with Cluster() as cluster:
            caches = {"instances": cluster.config}
    """

    def __init__(self) -> None:
        self.nodes = [ClusterNode() for _ in SLOTS]
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for epoch, (node, slots) in enumerate(zip(self.nodes, SLOTS, strict=True), 1):
                stack.enter_context(node)
                assert node.command("CLUSTER", "ADDSLOTSRANGE", *slots) == b"+OK"
                assert node.command("CLUSTER", "SET-CONFIG-EPOCH", str(epoch)) == b"+OK"
            first, *others = self.nodes
            for node in others:
                met = first.command("CLUSTER", "MEET", "127.0.0.1", str(node.port), node.bus)
                assert met == b"+OK"
            wait_until(self.is_up, 60)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._running.close()

    def is_up(self) -> bool:
        """Tell whether each node knows of all slots, and so of the others."""
        import redis

        for node in self.nodes:
            with redis.Redis(port=node.port) as client:
                about = client.execute_command("CLUSTER INFO")
            if (about["cluster_state"], about["cluster_slots_ok"]) != ("ok", "16384"):
                return False
        return True

    @property
    def config(self) -> dict[str, Any]:
        """The settings of a cache whose client knows the cluster."""
        config = near_config("django-redis", self.nodes[0].url())
        factory = f"{__name__}.ClusterConnectionFactory"
        return {
            **config,
            "LOCATION": self.nodes[0].url(),
            "OPTIONS": {"CONNECTION_FACTORY": factory},
        }

    def nodes_of(self, alias: str, keys: Iterable[str]) -> set[int]:
        """Return the ports of the nodes that have these keys."""
        from redis.crc import key_slot

        made = [caches[alias].make_key(key).encode() for key in keys]
        return {self.nodes[min(key_slot(key) // 5461, 2)].port for key in made}


class ClusterConnectionFactory:
    """The one that docs/explanation/resilience.md shows."""

    def __init__(self, options: dict[str, Any]) -> None:
        [code] = [block.text for block in blocks("resilience.md") if "RedisCluster" in block.text]
        names: dict[str, Any] = {}
        assert code.count("timeout=0.2") == 2
        exec(code.replace("timeout=0.2", f"timeout={TIMEOUT}"), names)
        self._documented = names["ClusterConnectionFactory"](options)

    def connect(self, url: str) -> Any:
        return self._documented.connect(url)
