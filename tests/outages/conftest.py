from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from tests.outages.times import Site
from tests.support.lookups import Clock, hooked_caches

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site(clock: Clock) -> Iterator[Site]:
    """A site whose clocks are moved by hand, on a cache that can be interrupted."""
    with override_settings(CACHES=hooked_caches()):
        yield Site(clock)


@pytest.fixture
def shared(clock: Clock, cache_alias: str) -> Site:
    """A site whose clocks are moved by hand, on a cache of each kind."""
    return Site(clock, cache_alias=cache_alias)


@pytest.fixture
def takes_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every call against the service, however late a busy machine gave it a thread."""
    monkeypatch.setattr("instance_lookup.fetching.fetcher._FAIR", 0.0)
