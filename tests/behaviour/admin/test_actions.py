from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from instance_lookup import get_resolver
from instance_lookup.contrib.admin import actions
from instance_lookup.inspection import State, inspect_one
from tests.behaviour.admin.support import HOME, text
from tests.behaviour.commands.support import NO_LIST, SECRET, store
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.admin.support import Browser
    from tests.behaviour.commands.support import ConfigService

ACT, PURGE_ALL = f"{HOME}act/", f"{HOME}purge-all/"
FORMS = [(ACT, {"action": "purge", "id": "acme"}), (PURGE_ALL, {"word": "purge all"})]


def state(instance_id: str) -> State:
    return inspect_one(get_resolver(), instance_id).state


def log() -> list[tuple[str | None, str]]:
    entries = LogEntry.objects.order_by("pk")
    return [(each.object_id, each.change_message) for each in entries]


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("warm", 400, State.FRESH),
        ("expire", 0, State.STALE),
        ("purge", 0, State.ABSENT),
    ],
)
def test_action_is_done_when_confirmed(
    operator: Browser, action: str, before: int, after: State
) -> None:
    """Each action asks first and changes nothing; confirmed, it is done, told and logged."""
    store("acme", age=before)
    unchanged = state("acme")
    question = text(operator.send(action=action, id="acme"))
    assert f"{action.capitalize()} acme?" in question
    assert (state("acme"), log()) == (unchanged, [])
    done = actions.ACTIONS[action].done
    assert f"{done} acme." in operator.do(action, "acme")
    assert state("acme") == after
    assert log() == [("acme", f"{done}.")]


def test_block_and_unblock(operator: Browser) -> None:
    """A blocked instance is shown as such, with the end of the block, until it is unblocked."""
    store("acme")
    assert 'value="24h"' in operator.send(action="block", id="acme").content.decode()
    page = operator.do("block", "acme", given="2h", detail="acme")
    assert "Blocked acme." in page
    assert "■ blocked Every request is refused with 403" in page
    assert "In the cache: blocked until" in page
    assert "Unblocked acme." in operator.do("unblock", "acme")
    assert state("acme") == State.ABSENT
    assert log() == [("acme", "Blocked."), ("acme", "Unblocked.")]


@pytest.mark.parametrize("time", ["", "soon", "9999d"])
def test_block_for_no_time_asks_again(operator: Browser, time: str) -> None:
    """Where the time is none, nothing is blocked and the form says why."""
    store("acme")
    page = operator.do("block", "acme", given=time)
    assert "Nothing was done:" in page
    assert "Block acme?" in page
    assert (state("acme"), log()) == (State.FRESH, [])


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_action_by_get_is_refused(operator: Browser, path: str, form: dict[str, str]) -> None:
    """A link changes nothing."""
    store("acme")
    assert operator.get(path, {**form, "confirmed": "yes"}).status_code == 405
    assert state("acme") == State.FRESH


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_action_without_csrf_token_is_refused(
    operator: Browser, path: str, form: dict[str, str]
) -> None:
    """A form of another site changes nothing."""
    store("acme")
    assert operator.post(path, {**form, "confirmed": "yes"}).status_code == 403
    assert state("acme") == State.FRESH


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_action_without_permission_is_refused(
    viewer: Browser, path: str, form: dict[str, str]
) -> None:
    """Who may only view changes nothing, even with a form that no page shows them."""
    store("acme")
    viewer.handler.enforce_csrf_checks = False
    assert viewer.post(path, {**form, "confirmed": "yes"}).status_code == 403
    assert state("acme") == State.FRESH


def test_action_of_unknown_name_is_refused(operator: Browser) -> None:
    """A form that was tampered with is a bad request."""
    assert operator.send(action="drop", id="acme").status_code == 400


def test_action_without_selection_does_nothing(operator: Browser) -> None:
    """Where nothing is selected, the page says so."""
    assert "No instance is selected" in operator.do("purge")


def test_action_on_all_of_page(operator: Browser) -> None:
    """One mark takes all that the page shows, without a script."""
    store("acme")
    store("globex")
    page = text(operator.send(action="purge", everything="yes", shown=["acme", "globex"]))
    assert "Purge 2 instances?" in page
    assert "globex" in page


def test_action_returns_to_list_as_it_was(operator: Browser) -> None:
    """After an action the list is where it was before."""
    response = operator.send(action="expire", id="initech", confirmed="yes", back="cursor=2")
    assert response.redirect_chain == [(f"{HOME}?cursor=2", 302)]


def test_action_returns_to_page_of_instance(operator: Browser) -> None:
    """After an action from the page of an instance, that page is shown, with what was done."""
    response = operator.send(action="warm", id="acme", confirmed="yes", detail="acme")
    assert response.redirect_chain == [(f"{HOME}acme/change/", 302)]
    assert "operator: Warmed." in text(response)


def test_action_that_fails_is_told_and_logged(operator: Browser) -> None:
    """A failure of one instance does not stop the others, and is told with its reason."""
    page = operator.do("warm", "unknown", "acme", "a b")
    assert "Warmed acme." in page
    assert "Not warmed: unknown: INSTANCE_NOT_FOUND" in page
    assert "Not warmed: a b: INVALID_CONTEXT" in page
    assert len(log()) == 3


def test_action_with_many_failures_names_some(operator: Browser) -> None:
    """Of many failures ten are told, and how many more there are."""
    names = [f"unknown{number}" for number in range(12)]
    assert "Not warmed: 2 more." in operator.do("warm", *names)


def test_action_names_some_of_many(operator: Browser) -> None:
    """Of many instances ten are named."""
    assert "and 2 more." in operator.do("expire", *(f"i{number}" for number in range(12)))


def test_warm_that_takes_long_ends(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page does not wait for ever: what has not come by then is told."""
    monkeypatch.setattr(actions, "WARM_SECONDS", -1.0)
    page = operator.do("warm", "acme", "globex")
    assert "Warmed acme." in page
    assert "Not warmed: globex: TIMEOUT: not done within" in page


def test_action_while_service_is_down(operator: Browser, service: ConfigService) -> None:
    """To warm fails while the service is down; what is cached stays."""
    store("acme", age=400)
    service.server.stop()
    assert "Not warmed: acme: CONFIG_SERVICE_UNAVAILABLE" in operator.do("warm", "acme")
    assert state("acme") == State.STALE


@pytest.mark.parametrize("action", list(actions.ACTIONS))
def test_action_while_cache_is_down(operator: Browser, settings: Settings, action: str) -> None:
    """An action that the cache does not keep is a failure, not an error of the page."""
    cache = {"BACKEND": "tests.behaviour.admin.support.BrokenCache"}
    settings.CACHES = {**settings.CACHES, "broken": cache}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "broken"}
    assert "The cache does not answer." in text(operator.send(action=action, id="acme"))
    page = operator.do(action, "acme", given="1h")
    assert "acme: CACHE_ERROR" in page
    assert SECRET not in page


def test_purge_all_asks_for_the_word(operator: Browser) -> None:
    """Everything is purged only when the word is typed; then it is told and logged."""
    store("acme")
    assert "Purge all instances?" in text(operator.send(PURGE_ALL))
    page = text(operator.send(PURGE_ALL, confirmed="yes", word="purge"))
    assert "Nothing was purged" in page
    assert (state("acme"), log()) == (State.FRESH, [])
    page = text(operator.send(PURGE_ALL, confirmed="yes", word="Purge all "))
    assert "Purged all instances and projects." in page
    assert (state("acme"), log()) == (State.ABSENT, [("", "All instances purged.")])


def test_purge_all_while_service_is_down_asks_twice(
    operator: Browser, service: ConfigService
) -> None:
    """While the service is down, to purge everything takes a second mark."""
    store("acme")
    service.server.stop()
    page = text(operator.send(PURGE_ALL, confirmed="yes", word="purge all"))
    assert "takes every instance down" in page
    assert state("acme") == State.FRESH
    operator.send(PURGE_ALL, confirmed="yes", word="purge all", force="yes")
    assert state("acme") == State.ABSENT


def test_purge_all_of_service_without_list(operator: Browser, service: ConfigService) -> None:
    """A service that has no list is not down."""
    service.scripts["/instances"] = NO_LIST[0]
    store("acme")
    operator.send(PURGE_ALL, confirmed="yes", word="purge all")
    assert state("acme") == State.ABSENT


def test_purge_all_while_cache_is_down(operator: Browser, settings: Settings) -> None:
    """A purge that the cache does not keep is told as a failure, and logged as one."""
    cache = {"BACKEND": "tests.behaviour.admin.support.BrokenCache"}
    settings.CACHES = {**settings.CACHES, "broken": cache}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "broken"}
    page = text(operator.send(PURGE_ALL, confirmed="yes", word="purge all"))
    assert "Not purged: all instances: CACHE_ERROR" in page
    assert log() == [("", "All instances not purged: CACHE_ERROR.")]


@pytest.mark.parametrize(("path", "form"), FORMS)
def test_action_that_others_do_not_hear_is_told(
    operator: Browser, monkeypatch: pytest.MonkeyPatch, path: str, form: dict[str, str]
) -> None:
    """Where other processes cannot be told of an invalidation, the page says what that means."""
    cache = get_resolver().cache

    def invalidate_unheard(*ids: str) -> None:
        cache.counters.add("unpublished")

    monkeypatch.setattr(cache, "invalidate", invalidate_unheard)
    monkeypatch.setattr(cache, "invalidate_all", invalidate_unheard)
    assert "other processes could not be told" in text(operator.send(path, **form, confirmed="yes"))


def test_log_of_admin_links_to_instance(operator: Browser) -> None:
    """The admin's own list of recent actions leads to the instance."""
    operator.do("expire", "acme")
    operator.send(PURGE_ALL, confirmed="yes", word="purge all")
    page = operator.get(reverse("admin:index")).content.decode()
    assert f'<a href="{HOME}acme/change/">acme</a>' in page
    assert "all instances" in page


def test_action_from_malformed_id_shows_it_escaped(operator: Browser) -> None:
    """What a person put into a form is shown as text."""
    page = operator.send(action="purge", id="<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in page


def test_answer_of_service_is_escaped(operator: Browser, service: ConfigService) -> None:
    """What the service names an instance is shown as text."""
    document = b'{"instance_id": "acme", "metadata": {"name": "<script>alert(1)</script>"}}'
    service.scripts["/instances/acme"] = Answer(200, document)
    operator.do("warm", "acme")
    for path in (HOME, f"{HOME}acme/change/"):
        assert "<script>alert" not in operator.get(path).content.decode()
