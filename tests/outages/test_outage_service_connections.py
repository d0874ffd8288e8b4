"""A Config Service that is well, behind a network that forgot the connections to it."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import LookupResult, Source
from tests.outages.crowds import CROWDS, resolver_on
from tests.outages.outages import healthy
from tests.support.lookups import asks, hooked_caches
from tests.support.servers import ScriptedServer, drop_packets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Received, Script

BURST = 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux drops packets")
@pytest.mark.parametrize("crowd", CROWDS)
def test_burst_after_a_silent_drop(crowd: Callable[..., list[Any]]) -> None:
    """After a silent drop each lookup is answered in time, and none counts as a failure."""
    together = threading.Barrier(BURST, timeout=10)

    def all_at_once(request: Received) -> Script:
        together.wait()
        return healthy(request)

    def burst(name: str) -> list[Any]:
        return crowd(resolver, [asks(instance_id=f"{name}-{n}") for n in range(BURST)])

    with (
        override_settings(CACHES=hooked_caches()),
        ScriptedServer(all_at_once) as server,
        resolver_on(server, "default", config_service_timeout=5.0) as resolver,
    ):
        burst("before")  # as many connections
        drop_packets(server)
        server.answers = healthy
        answers = burst("after")
        assert [isinstance(it, LookupResult) and it.source for it in answers] == (
            [Source.SERVICE] * BURST
        ), answers
        assert resolver._load_config._fetcher.service_health.breaker.is_closed
