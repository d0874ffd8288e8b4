from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.behaviour.commands.support import TOKEN, ConfigService, Site
from tests.support.servers import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings


@pytest.fixture
def service(settings: Settings) -> Iterator[ConfigService]:
    """A Config Service with three instances, on two pages, that the site asks."""
    with ScriptedServer() as server:
        service = ConfigService(server)
        server.answers = service.answer
        settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": server.url, "CONFIG_SERVICE_TOKEN": TOKEN}
        yield service


@pytest.fixture
def cached(service: ConfigService, cache_alias: str, settings: Settings) -> ConfigService:
    """The Config Service of ``service``, behind each kind of cache in turn."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": cache_alias}
    return service


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
