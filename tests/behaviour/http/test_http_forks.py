"""The connections of a process that forks."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.forks import FORKS

if TYPE_CHECKING:
    from tests.behaviour.http.routes import Route

SCRIPT = """
import json, os, signal, sys
from tests.behaviour.http.queries import http_service, query

signal.alarm(30)
service = http_service(**json.loads(sys.argv[1]))
service.get_instance("acme", query())
child = eval(sys.argv[2])
if child == 0:
    for _ in range(2):
        service.get_instance("acme", query())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
service.get_instance("acme", query())
"""


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_child_does_not_use_the_connections_of_its_parent(route: Route, fork: str) -> None:
    """A child makes its own connections: shared ones would mix up the answers."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(route.options), fork]
    subprocess.run(command, check=True, timeout=60)
    assert route.connections == [1, 2, 2, 1]
