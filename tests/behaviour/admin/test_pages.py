from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.core.cache import caches
from django.db import connection
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.urls import reverse

from instance_lookup import InstanceNotFound, get_resolver
from instance_lookup.contrib.admin import actions
from instance_lookup.frozen import MASK
from tests.behaviour.admin.support import HOME, see, text
from tests.behaviour.commands.support import NO_LIST, SECRET, TOKEN, store
from tests.support.servers import Answer, mute

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from instance_lookup.resolver import InstanceResolver
    from tests.behaviour.admin.support import Browser
    from tests.behaviour.commands.support import ConfigService

PAGES = [HOME, f"{HOME}acme/change/"]


def test_app_wants_no_migration() -> None:
    """A project that adds the app has nothing to migrate."""
    # Not the command, which also sees the models that other test modules define.
    loader = MigrationLoader(None)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    assert "instance_lookup_admin" not in detector.changes(loader.graph)


def test_app_has_two_permissions(db: None) -> None:
    """There are permissions to view and to change instances, and no others."""
    found = Permission.objects.filter(content_type__app_label="instance_lookup_admin")
    assert {each.codename for each in found} == {"view_instance", "change_instance"}


def test_app_has_no_table(db: None) -> None:
    """The model has no table: the Config Service owns the data."""
    table = apps.get_model("instance_lookup_admin", "Instance")._meta.db_table
    assert table not in connection.introspection.table_names()


def test_index_links_to_list(operator: Browser) -> None:
    """The first page of the admin links to the list, and offers to add nothing."""
    page = operator.get(reverse("admin:index")).content.decode()
    assert f'href="{HOME}"' in page
    assert f"{HOME}add/" not in page


@pytest.mark.parametrize("path", PAGES)
def test_page_without_permission_is_forbidden(stranger: Browser, path: str) -> None:
    """Staff who may not view instances see none."""
    assert stranger.get(path).status_code == 403


@pytest.mark.parametrize("path", PAGES)
def test_page_of_viewer_offers_no_action(viewer: Browser, path: str) -> None:
    """Who may only view sees the pages, and no button."""
    page = viewer.get(path)
    assert page.status_code == 200
    assert "<button" not in page.content.decode().partition('id="content-main"')[2]


def test_list_shows_state_and_owner(operator: Browser) -> None:
    """Each instance of the service's list has its state, owner and size."""
    store("acme")
    page = operator.see()
    assert "acme ● fresh u1" in page
    assert "globex ○ absent" in page
    assert " bytes" in page


def test_list_follows_cursor(operator: Browser) -> None:
    """The second page of the service's list is one link away, and the first from there."""
    assert 'href="?cursor=2"' in operator.get(HOME).content.decode()
    page = operator.see(cursor="2")
    assert "initech" in page
    assert "acme" not in page
    assert "First page" in page
    assert "Next page" not in page


def test_list_divides_long_pages_of_service(operator: Browser, service: ConfigService) -> None:
    """A page of the service that is longer than ours is shown in parts."""
    ids = [f"i{number}" for number in range(150)]
    service.scripts["/instances"] = Answer(200, _listing(ids))
    assert 'href="?start=100"' in operator.get(HOME).content.decode()
    page = operator.see(start="100")
    assert "i149" in page
    assert "Next page" not in page


def _listing(ids: list[str]) -> bytes:
    return json.dumps({"instances": ids, "next": None}).encode()


def test_list_with_value_that_cannot_be_read(operator: Browser) -> None:
    """One value that the cache cannot unpickle does not hide the others."""
    store("acme")
    cache: Any = caches["default"]
    cache.set("instance_config:globex", "")
    cache._cache[cache.make_key("instance_config:globex")] = b"\x80\x05no pickle"
    page = operator.see()
    assert "acme ● fresh" in page
    assert "globex ▲ unreadable" in page


@pytest.mark.parametrize("start", ["-1", "x", "9" * 12])
def test_list_ignores_start_that_is_no_number(operator: Browser, start: str) -> None:
    """A mistyped address shows the first page."""
    assert "acme" in operator.see(start=start)


def test_detail_shows_masked_config(operator: Browser) -> None:
    """The page of an instance shows its configuration without any secret."""
    store("acme")
    page = operator.see(f"{HOME}acme/change/")
    assert f'"openai": "{MASK}"' in page
    assert "A request gets the copy from the cache, at once." in page


def test_detail_of_stale_copy_says_what_a_request_gets(operator: Browser) -> None:
    """A stale copy is served only if the service fails."""
    store("acme", age=400)
    assert "It gets the copy below if the service fails" in operator.see(f"{HOME}acme/change/")


def test_detail_without_stale_on_error_says_so(operator: Browser, settings: Settings) -> None:
    """Where stale copies are never served, the page does not promise them."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USE_STALE_ON_ERROR": False}
    store("acme", age=400)
    assert "USE_STALE_ON_ERROR is off" in operator.see(f"{HOME}acme/change/")


def test_detail_of_unknown_instance(operator: Browser) -> None:
    """An instance that does not exist is answered with 404, and the page says so."""
    with suppress(InstanceNotFound):
        get_resolver().refresh("unknown")
    page = operator.see(f"{HOME}unknown/change/")
    assert "negative" in page
    assert "404" in page


def test_detail_of_malformed_id(operator: Browser) -> None:
    """What is no id has a page that says so: a request that names it gets 400."""
    assert "is no id of an instance" in operator.see(f"{HOME}a b/change/")


def test_detail_of_invalidated_copy_has_note(operator: Browser) -> None:
    """What is stored and never served is explained."""
    store("acme")
    caches["default"].set("instance_generation:acme", "another")
    assert "was invalidated, or is too old" in operator.see(f"{HOME}acme/change/")


@pytest.mark.parametrize("answer", NO_LIST[:1])
def test_list_of_service_without_list(
    operator: Browser, service: ConfigService, answer: Answer
) -> None:
    """A service that has no list is not called down."""
    service.scripts["/instances"] = answer
    page = operator.see()
    assert "has no list of instances" in page
    assert "does not answer" not in page


def test_list_of_service_that_lists_nothing(operator: Browser, service: ConfigService) -> None:
    """An empty list is no failure."""
    service.ids = []
    assert "lists no instances" in operator.see()


def test_list_of_service_that_hangs(
    operator: Browser, service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person waits for the list for a moment, not for as long as a lookup may take."""
    monkeypatch.setattr("instance_lookup.operations.listing.PATIENCE", 0.1)
    service.scripts["/instances"] = mute()
    assert "The Config Service does not answer." in operator.see()


@pytest.mark.parametrize("cache_kind", ["filebased", "django-redis"])
def test_pages_with_other_caches(
    cache_alias: str, operator: Browser, reporting: InstanceResolver, settings: Settings
) -> None:
    """The pages are the same whatever the cache is made of."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": cache_alias}
    store("acme")
    see("acme")
    page = operator.see()
    assert "acme ● fresh u1" in page
    assert "Only this process." not in page
    assert "Purged acme." in operator.do("purge", "acme")


def test_pages_while_service_is_down(operator: Browser, service: ConfigService) -> None:
    """With the service down the list says so, and an instance is shown from the cache."""
    store("acme")
    service.server.stop()
    assert "The Config Service does not answer." in operator.see()
    assert "● fresh" in operator.see(f"{HOME}acme/change/")


@pytest.mark.parametrize("is_down", [False, True])
def test_pages_while_cache_is_down(
    operator: Browser, service: ConfigService, settings: Settings, is_down: bool
) -> None:
    """With the cache down the pages say so, whether the service answers or not."""
    _break_cache(settings)
    if is_down:
        service.server.stop()
    page = operator.see()
    assert ("? unknown" in page) is not is_down
    page += operator.see(f"{HOME}acme/change/")
    assert "The cache does not answer." in page
    assert SECRET not in page


def test_pages_with_wrong_settings(operator: Browser, settings: Settings) -> None:
    """With settings that are wrong the pages name the setting."""
    settings.INSTANCE_LOOKUP = {"CACHE_TTL": -1}
    for path in PAGES:
        response = operator.get(path)
        assert response.status_code == 503
        assert "CACHE_TTL" in text(response)


def test_pages_say_that_memory_is_of_one_process(operator: Browser) -> None:
    """Where each process has a cache of its own, the pages say that they see one of them."""
    assert "Only this process." in operator.see()


def test_pages_show_no_secret(operator: Browser, service: ConfigService) -> None:
    """No page, of a site that is well or not, shows a key, a token or credentials of a URL."""
    service.scripts["/instances/globex"] = Answer(500, SECRET.encode())
    seen = ""
    for action in actions.ACTIONS:
        for instance_id in ("acme", "globex"):
            form = {"action": action, "id": instance_id, "given": "1h"}
            seen += operator.send(**form).content.decode()
            seen += operator.send(**form, confirmed="yes").content.decode()
        store("acme")
        for path in (*PAGES, f"{PAGES[1]}?user=operator"):
            seen += operator.get(path).content.decode()
    assert "openai" in seen
    assert "Not warmed: globex" in seen
    assert SECRET not in seen
    assert TOKEN not in seen


def test_pages_have_no_inline_style_or_script(operator: Browser) -> None:
    """The pages work under a Content-Security-Policy that allows only files of the site."""
    store("acme")
    for path in PAGES:
        ours = operator.get(path).content.decode().partition('id="content-main"')[2]
        assert "style=" not in ours
        assert "<script" not in ours
        assert "<style" not in ours


def _break_cache(settings: Settings) -> None:
    cache = {"BACKEND": "tests.behaviour.admin.support.BrokenCache"}
    settings.CACHES = {**settings.CACHES, "broken": cache}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "broken"}
