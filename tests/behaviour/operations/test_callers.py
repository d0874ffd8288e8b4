"""Explanations for a user by name, whatever is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError

from instance_lookup import LookupUser, get_resolver
from instance_lookup.identifiers import SubdomainIdentifier
from instance_lookup.operations.callers import explain_user, find_user, make_request
from tests.support.doors import owned_by, serve

HEADER = {"X-Instance-ID": "acme"}


@pytest.fixture
def bob(db: None, settings: Any) -> User:
    """Owns the instance ``acme``, which the cache holds."""
    bob = User.objects.create_user("bob", pk=7, email="bob@example.com")
    serve(settings).instances["acme"] = owned_by(bob)
    return bob


def explained(user: str | None = "bob", **more: Any) -> Any:
    return explain_user(get_resolver(), user, ask=True, **{"headers": HEADER, **more})


@pytest.mark.parametrize("name", ["bob", "7"])
def test_user_by_name_or_key(bob: User, name: str) -> None:
    """A user is found by username, else by key."""
    told = explained(name)
    assert (told.user, told.ending.status) == ("user '7'", 200)


def test_username_goes_before_the_key(bob: User) -> None:
    """A username that is the key of another user is a username."""
    User.objects.create_user("7", pk=8)
    assert find_user("7").pk == 8


@pytest.mark.parametrize("name", ["nobody", "99", "", "a89416c2-5ac2-493a-806d-61eae053ac62"])
def test_user_who_is_not_there(bob: User, name: str) -> None:
    """An unknown user is part of the explanation."""
    told = explained(name)
    assert told.is_refused
    assert told.ending.message == f"No user has the username or the key {name!r}."


def test_name_that_the_database_does_not_take(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that can be no text, as a NUL in PostgreSQL, is one that no user has."""

    def refuse(name: str) -> User:
        raise ValueError("A string literal cannot contain NUL (0x00) characters.")

    monkeypatch.setattr(User.objects, "get_by_natural_key", refuse)
    assert explained("\0").is_refused


def test_anonymous_caller(bob: User) -> None:
    """An anonymous caller is explained as one."""
    assert explained(None).ending.status == 403


def test_database_that_is_down(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is down is part of the explanation, without the text of its error."""

    def fails(*args: Any) -> None:
        raise OperationalError("password=secret")

    monkeypatch.setattr("django.contrib.auth.models.UserManager.get_by_natural_key", fails)
    told = explained()
    assert told.ending.message == "Users cannot be read: OperationalError."


def test_site_without_users(settings: Any) -> None:
    """A site without django.contrib.auth has anonymous callers only, and says so."""
    serve(settings, ALLOW_ANONYMOUS=True)
    settings.INSTALLED_APPS = ["instance_lookup"]
    assert explained(None).ending.status == 404
    assert "not been installed" in explained("bob").ending.message


def _raises(user: Any, request: Any = None) -> LookupUser:
    raise ZeroDivisionError("secret")


def test_user_context_that_fails(bob: User, settings: Any) -> None:
    """A USER_CONTEXT that raises is part of the explanation."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": _raises}
    told = explained()
    assert told.ending.message == "USER_CONTEXT raised ZeroDivisionError."
    assert told.user == "user 'bob'"


def test_names_outright(bob: User) -> None:
    """Instance and project can be named as code does."""
    told = explained(headers={}, instance_id="acme", project_id="shop")
    assert told.named == "instance 'acme' in project 'shop'"


def test_request_has_path_query_and_host(settings: Any) -> None:
    """The request that is made up has what identifiers look at."""
    settings.ALLOWED_HOSTS = ["*", ".example.com"]
    request = make_request(AnonymousUser(), {"X-Tenant": "t"}, "/x/?instance=acme")
    assert (request.path_info, request.GET["instance"]) == ("/x/", "acme")
    assert (request.headers["X-Tenant"], request.get_host()) == ("t", "example.com")
    settings.ALLOWED_HOSTS = []
    assert make_request(AnonymousUser(), {}, "").META["SERVER_NAME"] == "localhost"


def test_host_names_the_instance(bob: User, settings: Any) -> None:
    """A header ``Host`` is the request's host."""
    identifiers = (SubdomainIdentifier("example.com"),)
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "IDENTIFIERS": identifiers}
    assert explained(headers={"Host": "acme.example.com"}).ending.status == 200


def test_owner_recorded_as_email(bob: User, settings: Any) -> None:
    """Username and e-mail of the user are known, for the hint."""
    service = serve(settings)
    for owner in ("bob", "bob@example.com"):
        service.instances["acme"] = owned_by(bob) | {"metadata": {"owner": owner}}
        (hint,) = explained().hints
        assert f"'{owner}' is this user's name or e-mail" in hint
