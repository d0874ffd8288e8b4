from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.behaviour.status.support import Site, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    """A site on the cache ``default``, with a Config Service that knows "acme"."""
    with serve(settings, "default") as site:
        yield site


@pytest.fixture
def cached(cache_alias: str, settings: Settings) -> Iterator[Site]:
    """The same site on each kind of cache in turn."""
    with serve(settings, cache_alias) as site:
        yield site
