from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from tests.behaviour.admin.support import HOME, see
from tests.behaviour.commands.support import SECRET, store

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from instance_lookup.resolver import InstanceResolver
    from tests.behaviour.admin.support import Browser

ACME = f"{HOME}acme/change/"


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", email="bob@example.com")


@pytest.mark.parametrize("field", ["username", "pk"])
def test_explanation_finds_user(operator: Browser, bob: User, field: str) -> None:
    """A user is found by name and by key; the page says what they get, and what decided it."""
    store("acme", owner=str(bob.pk))
    page = operator.see(ACME, user=str(getattr(bob, field)))
    assert f"For user '{bob.pk}': ✓ yes Status 200." in page
    assert f"Decided by: IsOwner: yes: owner is '{bob.pk}', user is '{bob.pk}'" in page
    assert "shared fresh" in page


def test_explanation_of_refused_user_has_hint(operator: Browser, bob: User) -> None:
    """Where the owner is recorded by name instead of key, the page says so."""
    store("acme", owner="bob")
    page = operator.see(ACME, user="bob")
    assert "✕ no Status 403." in page
    assert f"IsOwner: no: owner is 'bob', user is '{bob.pk}'" in page
    assert "is this user's name or e-mail" in page


def test_explanation_of_unknown_user(operator: Browser) -> None:
    """A user that does not exist is said not to exist."""
    store("acme")
    assert "No user has the username or the key 'nobody'." in operator.see(ACME, user="nobody")


def test_explanation_without_copy(operator: Browser, bob: User) -> None:
    """Where the cache holds nothing, the service decides, and is not asked."""
    assert "? the Config Service decides" in operator.see(ACME, user="bob")
    badge = '<span class="il-badge il-unknown"><span aria-hidden="true">?</span> the Config'
    assert badge in operator.get(ACME, {"user": "bob"}).content.decode()


def test_explanation_while_cache_is_down(operator: Browser, bob: User, settings: Settings) -> None:
    """With the cache down the page says what that means for the user."""
    cache = {"BACKEND": "tests.behaviour.admin.support.BrokenCache"}
    settings.CACHES = {**settings.CACHES, "broken": cache}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "broken"}
    page = operator.see(ACME, user="bob")
    assert "shared down" in page
    assert SECRET not in page


def test_answers_of_service_are_shown(operator: Browser, reporting: InstanceResolver) -> None:
    """The last answers about an instance: outcome, status, latency, request id."""
    see("acme", ago=60)
    see("acme", outcome="timeout", status=None, seconds=5.0)
    page = operator.see(ACME)
    assert "✕ timeout - 5 s request-1" in page
    assert "✓ ok 200 100 ms request-1" in page


def test_answers_where_there_are_none(operator: Browser, reporting: InstanceResolver) -> None:
    """An instance that nobody asked for within a day has no answers."""
    assert "None within a day." in operator.see(ACME)


def test_answers_without_reports(operator: Browser) -> None:
    """Where nothing is reported the page names the setting."""
    assert "REPORT_STATUS is off" in operator.see(ACME)
