"""The pages in a real browser, under a strict Content-Security-Policy, without any script of ours.

``SCREENSHOTS=docs/operations`` has the run write the pictures of docs/operations/admin.md there.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from instance_lookup import get_resolver
from instance_lookup.operations.condition import ServiceCondition, State, SubscriptionCondition
from instance_lookup.operations.reporter import reporter
from instance_lookup.operations.stored import Minute
from tests.behaviour.admin.support import HOME, see
from tests.behaviour.admin.test_head import report
from tests.behaviour.commands.support import store
from tests.support.chromium import serious, start_chromium
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from playwright.sync_api import Page
    from pytest_django.fixtures import Settings
    from pytest_django.live_server_helper import LiveServer

    from instance_lookup.resolver import InstanceResolver
    from tests.behaviour.commands.support import ConfigService

pytestmark = [
    pytest.mark.programs,
    pytest.mark.django_db(transaction=True),
    # A browser leaves connections open; threads of the server are collected with what they hold.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PICTURES = {
    ("list", "light", 1280): "admin",
    ("list", "dark", 1280): "admin-dark",
    ("detail", "light", 1280): "admin-detail",
}
"""The pages of which there are pictures, by scheme and width."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'"
)


def strict(get_response: Any) -> Any:
    """Allow a page nothing but files of the site, and its forms."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return middleware


@pytest.fixture
def cache_kind() -> str:
    """A cache that all processes share."""
    return "redis"


@pytest.fixture
def service(cache_alias: str, service: ConfigService, settings: Settings) -> ConfigService:
    """The Config Service of the other tests, behind that cache."""
    changed = {"CACHE_ALIAS": cache_alias, "NEAR_CACHE_SIZE": 0}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **changed}
    return service


@pytest.fixture
def site(
    reporting: InstanceResolver,
    settings: Settings,
    live_server: LiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The address of the list, on a site where three processes have something to tell."""
    # The browser's own loop runs in this thread, which takes Django's database for a coroutine's.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]
    User.objects.create_superuser("olga", password="sesame")
    store("acme", name="Acme Corporation", tenant_id="t1")
    store("globex", age=1500, owner="u2", name="Globex", tenant_id="t2")
    see("acme", "globex", "initech")
    see("globex", outcome="timeout", source="stale_cache", status=None, seconds=5.0, ago=130)
    for pid in (101, 102, 103):
        is_deaf = pid == 103
        report(
            reporting,
            pid,
            an_hour(),
            state=State.DEGRADED if is_deaf else State.HEALTHY,
            service=ServiceCondition(up=True),
            subscription=SubscriptionCondition(state="deaf" if is_deaf else "heard"),
            counters={"hits": 970, "misses": 30},
        )
    return f"{live_server.url}{HOME}"


def an_hour() -> list[Minute]:
    """Return what one process did in an hour in which the service was slow for a while."""
    this = int(time() // 60)
    minutes = []
    for ago in range(59, -1, -1):
        is_slow = 20 <= ago < 28
        fresh = 80 + ago * 37 % 23
        minute = Minute(
            minute=this - ago,
            fresh=fresh,
            near=fresh * 3 // 4,
            stale=14 if is_slow else 0,
            negative=ago % 3,
            missed=3 + ago % 4,
        )
        for call in range(3 + ago % 4):
            seconds = 0.04 + 0.02 * (ago * 7 % 5) + 0.03 * call
            minute.count_call(seconds * (20 if is_slow else 1), failed=is_slow and call > 1)
        minutes.append(minute)
    return minutes


@pytest.fixture
def page(site: str) -> Iterator[Page]:
    """The list, after a log-in. What the browser complains about fails the test."""
    complaints: list[str] = []
    # Started last and stopped first: while it runs there is an event loop in this thread.
    with start_chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.route("**/favicon.ico", lambda route: route.fulfill(body=""))  # no site has one here
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(site)
        page.get_by_label("Username").fill("olga")
        page.get_by_label("Password").fill("sesame")
        page.get_by_role("button", name="Log in").click()
        yield page
    assert complaints == []


def row(page: Page, instance_id: str) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=instance_id))


def test_browser_filters(page: Page) -> None:
    """A search shows what was searched for, and its form says what that was."""
    page.get_by_label("State").select_option("stale")
    page.get_by_role("button", name="Find").click()
    expect(row(page, "globex")).to_be_visible()
    expect(row(page, "acme")).to_have_count(0)
    expect(page.get_by_label("State")).to_have_value("stale")


def test_browser_warms(page: Page) -> None:
    """An instance is chosen, the page asks, and then the row is fresh."""
    page.get_by_label("Select globex").check()
    page.get_by_role("button", name="Warm").click()
    expect(page.get_by_role("heading", name="Warm globex?")).to_be_visible()
    page.get_by_role("button", name="Yes, warm").click()
    expect(page.get_by_text("Warmed globex.")).to_be_visible()
    expect(row(page, "globex")).to_contain_text("fresh")


def test_browser_purges(page: Page) -> None:
    """From the page of an instance: no goes back, yes purges, and the log has it."""
    page.get_by_role("link", name="acme").click()
    page.get_by_role("button", name="Purge").click()
    page.get_by_role("link", name="No, go back").click()
    expect(page.get_by_text("at once")).to_be_visible()
    page.get_by_role("button", name="Purge").click()
    page.get_by_role("button", name="Yes, purge").click()
    expect(page.get_by_text("Purged acme.")).to_be_visible()
    expect(page.get_by_text("olga: Purged.")).to_be_visible()
    expect(page.get_by_role("region", name="What a request gets now")).to_contain_text("absent")


def test_browser_purges_all_by_the_word(page: Page) -> None:
    """Everything is purged when the word is typed, and not before."""
    page.get_by_role("button", name="Purge all instances").click()
    page.get_by_role("button", name="Purge all").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("to confirm").fill("purge all")
    page.get_by_role("button", name="Purge all").click()
    expect(page.get_by_text("Purged all instances")).to_be_visible()


def test_browser_shows_outage_and_recovery(page: Page, service: ConfigService) -> None:
    """The page says that the service fails, and that it is back."""
    service.scripts = {"/instances/acme": Answer(503), "/instances/globex": Answer(503)}
    for instance_id in ("acme", "globex"):
        _warm(page, instance_id)
    reporter.report(get_resolver())
    page.reload()
    expect(page.get_by_text("✕ failing: status")).to_be_visible()
    service.scripts = {}
    _warm(page, "initech")
    reporter.report(get_resolver())
    page.reload()
    expect(page.get_by_text("✕ failing: status")).to_have_count(0)


def _warm(page: Page, instance_id: str) -> None:
    page.get_by_label(f"Select {instance_id}").check()
    page.get_by_role("button", name="Warm").click()
    page.get_by_role("button", name="Yes, warm").click()
    expect(page.get_by_role("listitem").filter(has_text="armed")).to_be_visible()


def test_browser_by_keyboard_alone(page: Page) -> None:
    """Each control can be reached and used without a mouse, and shows where one is."""
    _tab_to(page, "Select acme")
    page.keyboard.press("Space")
    _tab_to(page, "Expire…")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Expire acme?")).to_be_visible()
    _tab_to(page, "Yes, expire")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Expired acme.")).to_be_visible()
    expect(row(page, "acme")).to_contain_text("stale")


def _tab_to(page: Page, name: str) -> None:
    focused = "document.activeElement?.ariaLabel || document.activeElement?.innerText"
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == name:
            return
    pytest.fail(f"no {name!r} is reached by the Tab key")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_browser_pages_are_accessible_and_fit(page: Page, scheme: Any, width: int) -> None:
    """In light and dark, wide and narrow, axe-core finds nothing serious and no page scrolls."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    _check(page, "list", scheme, width)
    page.get_by_text("The last hour in numbers").click()
    page.get_by_role("link", name="acme").click()
    page.get_by_label("User").fill("olga")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_text("Decided by")).to_be_visible()
    _check(page, "detail", scheme, width)
    page.get_by_role("button", name="Block…", exact=True).click()
    expect(page.get_by_role("heading", name="Block acme?")).to_be_visible()
    _check(page, "confirm", scheme, width)


def _check(page: Page, name: str, scheme: str, width: int) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder and (picture := PICTURES.get((name, scheme, width))):
        page.screenshot(path=Path(folder) / f"{picture}.png", full_page=True)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    hidden = "[...document.querySelectorAll('.il-rows')].some(e => e.scrollWidth > e.clientWidth)"
    assert not page.evaluate(hidden)
