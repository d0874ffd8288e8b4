from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.behaviour.operations.doctor.support import CALLS, PATIENT, TOKEN, Service
from tests.support.caches import use_cache
from tests.support.servers import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings


@pytest.fixture(autouse=True)
def _few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure fewer calls than the twenty that the command makes."""
    monkeypatch.setattr("instance_lookup.operations.doctor.service.CALLS", CALLS)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[str]:
    """The alias of a cache that processes share, and that needs no server."""
    with use_cache("filebased", directory=tmp_path) as alias:
        yield alias


@pytest.fixture
def service(shared: str, settings: Settings) -> Iterator[Service]:
    """A Config Service that keeps the contract, and a cache on which nothing is to mend."""
    with ScriptedServer() as server:
        service = Service(server)
        server.answers = service.answer
        settings.INSTANCE_LOOKUP = {
            **PATIENT,
            "CONFIG_SERVICE_URL": server.url,
            "CONFIG_SERVICE_TOKEN": TOKEN,
            "CACHE_ALIAS": shared,
        }
        yield service
