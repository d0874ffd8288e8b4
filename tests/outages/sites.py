"""The service behind sites of several processes, and how the sites are asked."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import requests

from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from tests.support.servers import Received, Script


class Service(ScriptedServer):
    """A service that knows every instance, and lets "slow" and "each-…" wait for ``released``."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.released = threading.Event()
        self.bucket = ""
        """The bucket of every instance."""
        self.all_at_once = threading.Barrier(4, timeout=30)

    def answer(self, request: Received) -> Script:
        instance_id = request.path.rpartition("/")[2]
        if instance_id == "slow" and self.asked("slow") == 1:
            self.released.wait(60)
        if instance_id.startswith("each-"):
            self.all_at_once.wait()
        body = {
            "instance_id": instance_id,
            "features": {"open": True},
            "r2_bucket": self.bucket,
            "metadata": {"owner": "olga"},
        }
        return Answer(body=json.dumps(body).encode())

    def asked(self, instance_id: str) -> int:
        return [request.path for request in self.received].count(f"/instances/{instance_id}")


def get(site: str, instance_id: str) -> requests.Response:
    """Ask a page of the site on a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-Instance-ID": instance_id, "Connection": "close"}
        return session.get(f"{site}/plain", headers=headers, timeout=30)


def get_all(site: str, instance_ids: list[str]) -> list[requests.Response]:
    """Ask for all of them at the same time."""
    with ThreadPoolExecutor(len(instance_ids)) as pool:
        return list(pool.map(lambda instance_id: get(site, instance_id), instance_ids))
