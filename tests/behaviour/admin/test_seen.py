from __future__ import annotations

from time import time
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.operations.index import write_seen
from instance_lookup.operations.stored import News
from tests.behaviour.admin.support import HOME, see
from tests.behaviour.commands.support import SECRET, store

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from instance_lookup.resolver import InstanceResolver
    from tests.behaviour.admin.support import Browser
    from tests.behaviour.commands.support import ConfigService


@pytest.fixture
def seen(reporting: InstanceResolver) -> InstanceResolver:
    """A site that has asked for three instances: one of u2's is stale, one is not cached."""
    store("acme")
    store("globex", age=400, owner="u2")
    see("acme", "globex", "initech")
    return reporting


def instances(page: str) -> list[str]:
    """Return the ids that the page lists, in its order."""
    return [word for word in page.split() if word in {"acme", "globex", "initech"}]


def test_list_shows_what_the_site_has_seen(operator: Browser, seen: InstanceResolver) -> None:
    """Where processes report, the list is of what the site has asked for, without the service."""
    page = operator.see()
    assert instances(page) == ["acme", "globex", "initech"]
    assert "Seen by this site (3)" in page


def test_list_of_service_can_be_chosen(
    operator: Browser, seen: InstanceResolver, service: ConfigService
) -> None:
    """The service's own list is one link away."""
    service.ids = ["umbrella"]
    assert "umbrella" in operator.see(**{"from": "service"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "GLOB"}, ["globex"]),
        ({"q": "u2"}, ["globex"]),
        ({"state": "stale"}, ["globex"]),
        ({"state": "absent"}, ["initech"]),
        ({"state": "no-such-state"}, ["acme", "globex", "initech"]),
        ({"tenant": "t9"}, []),
        ({"order": "-age"}, ["globex", "acme", "initech"]),
        ({"order": "no-such-order"}, ["acme", "globex", "initech"]),
        ({"page": "7"}, ["acme", "globex", "initech"]),
    ],
)
def test_list_finds_and_orders(
    operator: Browser, seen: InstanceResolver, query: dict[str, str], expected: list[str]
) -> None:
    """Id and owner are searched, states and tenants filter, and what is no choice is left out."""
    assert instances(operator.see(**query)) == expected


def test_list_finds_blocked_instances(operator: Browser, seen: InstanceResolver) -> None:
    """Which are blocked is of this moment: no call or lookup reports a block."""
    seen.block_instance("globex", 3600)
    assert instances(operator.see(state="blocked")) == ["globex"]
    seen.unblock_instance("globex")
    assert instances(operator.see(state="blocked")) == []


def test_list_of_blocked_instances_while_cache_fails(
    operator: Browser, seen: InstanceResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that fails after the reports were read is told of, and no instance is listed."""
    read = type(key_values["default"]).get_many

    def get_many(self: object, keys: list[str]) -> list[object]:
        if keys[0].startswith("instance_generation:"):
            raise OSError(SECRET)
        return read(self, keys)  # type: ignore[arg-type]

    monkeypatch.setattr(type(key_values["default"]), "get_many", get_many)
    page = operator.see(state="blocked")
    assert "What this site has seen is in the cache." in page
    assert SECRET not in page


def test_list_that_finds_nothing_says_so(operator: Browser, seen: InstanceResolver) -> None:
    """A search without a result is told from a broken page."""
    assert "No instance that this site has seen fits." in operator.see(tenant="t9")


def test_list_shows_cached_instance_that_is_searched_by_id(
    operator: Browser, seen: InstanceResolver
) -> None:
    """An id that is not in the index is looked up in the cache all the same."""
    store("umbrella")
    assert "umbrella ● fresh" in operator.see(q="umbrella")


def test_list_turns_pages(
    operator: Browser, reporting: InstanceResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page links to the one before and after it, and keeps what was searched for."""
    monkeypatch.setattr("instance_lookup.contrib.admin.listing.PAGE", 1)
    see("acme", "globex", "initech")
    page = operator.get(HOME, {"page": "2", "order": "id"}).content.decode()
    assert 'href="?page=1&amp;order=id"' in page
    assert 'href="?page=3&amp;order=id"' in page
    assert "3 found, page 2 of 3" in page


def test_list_calls_cache_no_more_for_more_instances(
    operator: Browser, reporting: InstanceResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is one look at what it shows and three at the reports, for any number of instances."""
    news = News(at=time(), source="service")
    cache = key_values["default"]
    counts = []
    for count in (10, 2_000):
        write_seen(reporting, {f"i{number}": news for number in range(count)})
        asked = Mock(wraps=cache)
        with monkeypatch.context() as patch:
            patch.setitem(key_values, "default", asked)
            operator.see()
        counts.append([call[0] for call in asked.method_calls])
    assert counts == [["get_many"] * 4] * 2


def test_list_shows_last_source_and_failure(operator: Browser, seen: InstanceResolver) -> None:
    """What the service last did for an instance stands in its row."""
    see("globex", outcome="timeout", source="stale_cache", status=None, ago=130)
    assert "stale cache last failure: timeout, 2 min" in operator.see(q="globex")


def test_list_keeps_owner_of_purged_instance(operator: Browser, seen: InstanceResolver) -> None:
    """Who owns an instance is known from before, where the cache holds it no more."""
    seen.invalidate_cache("globex")
    see("globex", outcome="timeout", status=None)
    assert "globex ○ absent u2" in operator.see(q="globex")


def test_seen_while_cache_is_down(
    operator: Browser, seen: InstanceResolver, settings: Settings
) -> None:
    """With the cache down what was seen is not known; an id that is searched for is shown."""
    cache = {"BACKEND": "tests.behaviour.admin.support.BrokenCache"}
    settings.CACHES = {**settings.CACHES, "broken": cache}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "broken"}
    page = operator.see(**{"from": "seen"})
    assert "The cache does not answer." in page
    assert "What this site has seen is in the cache." in page
    assert "Seen by this site Listed by" in page  # no number, which is not known
    page = operator.see(q="acme")
    assert "acme ? unknown" in page
    assert SECRET not in page
