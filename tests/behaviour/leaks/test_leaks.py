"""No door shows a secret: whatever shows anything of the site is a line of the table below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import frozen, inspection, middleware, types
from instance_lookup.conf import hiding
from instance_lookup.operations import calls
from tests.behaviour.leaks import pages, values
from tests.behaviour.leaks.site import Site, site
from tests.support.secrets import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.redis_server import RedisServer

slow = pytest.mark.full
DOORS: dict[str, tuple[Callable[[Site], str], str]] = {
    # What shows, and what has to be seen there, or nothing was looked at.
    "logs": (pages.lines, "about to fail with"),
    "debug pages": (pages.debug_pages, "ZeroDivisionError"),
    "debug page of a lookup": (pages.debug_page_of_a_lookup, "ConfigServiceUnavailable"),
    "error pages": (pages.error_pages, "Server Error"),
    "mails to admins": (pages.mails, "ZeroDivisionError"),
    "Sentry": (pages.sentry, "ZeroDivisionError"),
    "tracebacks with locals": (pages.rich_tracebacks, "NewConnectionError"),
    "browsable API": (pages.browsable_api, "acme"),
    "templates": (pages.templates, "acme"),
    "admin pages": (pages.admin_pages, "acme"),
    "health": (pages.health, '"state": '),
    "webhook": (pages.webhook, "401 "),
    "debug toolbar": (pages.toolbar, "acme"),
    "values": (values.shown_of_values, "acme"),
    "errors about values": (values.errors_about_values, "is not JSON serializable"),
    "errors of settings": (values.errors_of_settings, "CONFIG_SERVICE_PROXY"),
    "commands": (values.commands, "acme"),
    "metrics": (values.metrics, "instance_lookup_"),
    "spans": (values.spans, "instance_lookup.resolve"),
    "Redis": (values.stored, "instance_config:acme"),
    "MONITOR": (values.monitored, "instance_config:acme"),
    "SQL": (values.sql, "VALUES ('sql:1:instance_config:acme', "),
}


# The cache is written by other threads, which would wait for a transaction of the test.
SQL = pytest.param("SQL", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture
def here(db: None, redis_server: RedisServer) -> Iterator[Site]:
    with site(redis_server) as here:
        yield here


@pytest.mark.parametrize("door", [*(door for door in DOORS if door != "SQL"), SQL])
def test_no_secret_is_shown(here: Site, door: str) -> None:
    """What shows a part of the site's work shows none of its secrets, in no spelling."""
    show, proof = DOORS[door]
    shown = show(here)
    assert proof in shown
    assert leaks(shown) == []


@pytest.fixture
def unhidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what hides: masks, hidden texts, cleared frames."""
    for secrets in (frozen.SecretDict, frozen.UrlDict):
        monkeypatch.setattr(secrets, "shown", dict.copy)
    for kind, plain in ((frozen.SecretText, str), (frozen.SecretBytes, bytes)):
        monkeypatch.setattr(kind, "__repr__", plain.__repr__)
        monkeypatch.setattr(kind, "__sentry_repr__", plain.__repr__)
    monkeypatch.setattr(types, "fields_shown", attrs_of)
    monkeypatch.setattr(inspection, "fields_shown", attrs_of)
    monkeypatch.setattr(middleware, "forget_request", str)
    monkeypatch.setattr(calls, "masked_url", str)
    monkeypatch.setattr(hiding, "hide", str)


def attrs_of(one: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(one, name)) for name in one.__struct_fields__]


WOULD_SHOW = {
    "logs": {"api key", "worker password", "worker query", "own field", "own mapping"},
    "debug pages": {"api key", "worker user", "own metadata", "proxy password", "own field"},
    "mails to admins": {"api key", "worker password", "proxy user", "own field"},
    "Sentry": {"api key", "worker query", "own field"},
    "tracebacks with locals": {"api key"},
    "browsable API": {"api key", "worker password", "own field"},
    "templates": {"worker password", "own metadata"},
    "admin pages": {"api key", "worker query", "own mapping", "own metadata"},
    "values": {"api key", "worker user", "own field", "token", "proxy password"},
    "errors about values": {"api key", "worker user", "own field"},
    "commands": {"api key", "worker query", "own mapping", "own metadata"},
    "debug toolbar": {"proxy password"},
}
"""What these doors show of the site where nothing hides it."""


@pytest.mark.parametrize(
    "door",
    [
        door if door in {"logs", "values", "commands"} else pytest.param(door, marks=slow)
        for door in WOULD_SHOW
    ],
)
def test_secrets_are_there_to_be_seen(unhidden: None, here: Site, door: str) -> None:
    """Each door shows the secrets once nothing hides them, or it would prove nothing."""
    found = {each.partition(",")[0] for each in leaks(DOORS[door][0](here))}
    assert found >= WOULD_SHOW[door]


SEALED = {"api key", "worker user", "worker password", "worker query", "own field", "own mapping"}


@pytest.mark.parametrize("door", ["Redis", "MONITOR", SQL])
def test_what_is_not_sealed_is_seen_in_the_cache(here: Site, settings: Any, door: str) -> None:
    """Without ENCRYPTION_KEYS the same search finds all of a document, unknown fields too."""
    settings.INSTANCE_LOOKUP = {**here.settings(), "ENCRYPTION_KEYS": []}
    found = {each.partition(",")[0] for each in leaks(DOORS[door][0](here))}
    assert found == SEALED | {"own metadata", "unknown field"}
