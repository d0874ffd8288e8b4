"""One race of each act, for the pairs of Python and Django that do not run every race."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.races.race_acts import ACTS, background, cancelled, see_deleted
from tests.races.races import Race, run

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("cache_kind", ["locmem", "django-redis"])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fetch", [background, cancelled])
def test_act(
    monkeypatch: pytest.MonkeyPatch,
    cache_alias: str,
    fetch: Callable[[Race], None],
    act: Callable[[Race], None],
) -> None:
    """An older answer does not survive an act, in a thread or in a cancelled coroutine."""
    race = Race(cache_alias, monkeypatch, config_service_timeout=25)
    run(race, fetch, "after the fetch", act)
    assert race.seen_by_both() == {"InstanceNotFound" if act is see_deleted else "second"}
