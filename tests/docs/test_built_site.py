"""The site that Sphinx makes of the docs, in a real browser: offline, searchable, fit for a phone.

``SCREENSHOTS=folder`` has the run write a picture of each page there.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.support.chromium import serious, start_chromium
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.extras, pytest.mark.programs]

WIDTHS = (1280, 1456, 375)
"""Without a list of headings beside the text, with one, and a phone."""
LOOKED_AT = {"index.html", "how-to/throttling.html", "operations/README.html"}
"""What axe-core looks at: text, code, and a wide table. It takes seconds for a long page."""
FOCUSED_BY_BROWSERS = "scrollable-region-focusable"
"""A rule of axe-core: Chromium and Firefox let the keyboard reach what scrolls by themselves."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-n", str(ROOT / "docs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def browsing(**options: Any) -> Iterator[BrowserContext]:
    with start_chromium() as chromium, chromium.new_context(**options) as context:
        yield context


def addresses(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))


def take_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name.replace('/', '-')}.png", full_page=True)


def test_link_to_a_comment_in_code() -> None:
    """Only headings of a page are places in it."""
    find_fault = runpy.run_path(str(ROOT / "docs" / "conf.py"))["find_fault"]
    page = ROOT / "docs" / "how-to" / "server-models.md"
    assert "# gunicorn_gevent.py" in page.read_text(encoding="utf-8").splitlines()
    assert find_fault(page, "#gunicorn") == ""
    assert find_fault(page, "#gunicorn_geventpy") != ""


def test_pages_ask_no_other_host(site: Path, url: str) -> None:
    """Behind a firewall and in a train the site is whole: letters, pictures, scripts, styles."""
    asked: list[str] = []
    complaints: list[str] = []
    with browsing() as context:
        page = context.new_page()
        page.route("**/favicon.ico", lambda route: route.fulfill(body=""))  # the site has none
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        for address in addresses(site):
            page.goto(f"{url}/{address}")
    assert len(asked) > len(addresses(site)) > 30
    assert [each for each in asked if not each.startswith((f"{url}/", "data:"))] == []
    assert complaints == []


@pytest.mark.parametrize("served", [True, False])
def test_search_finds_a_page(site: Path, url: str, served: bool) -> None:
    """The search needs no server: it works in a folder that someone has unpacked, too."""
    start = url if served else site.as_uri()
    with browsing() as context:
        page = context.new_page()
        page.goto(f"{start}/index.html")
        page.get_by_placeholder("Search").fill("InstanceRateThrottle")
        page.keyboard.press("Enter")
        found = page.locator("#search-results").get_by_role("link", name="Throttling")
        found.first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Throttling")


def test_copied_commands_have_no_prompt(url: str) -> None:
    """What is copied from a console can be pasted into one."""
    with browsing(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = context.new_page()
        page.goto(f"{url}/reference/commands.html")
        block = page.locator(".highlight-console").filter(has_text="Warmed 3 instances.").first
        block.hover()
        block.get_by_role("button").click()
        expect(block.get_by_role("button")).to_contain_class("success")
        copied = page.evaluate("navigator.clipboard.readText()")
    lines = copied.splitlines()
    assert lines[0] == "python manage.py warm_instance_cache --all"
    assert [line for line in lines if line.startswith(("$", "Warmed"))] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit(site: Path, url: str, width: int) -> None:
    """Tables and code scroll to the side where they must, and a page never does."""
    too_wide = []
    with browsing(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        for address in addresses(site):
            page.goto(f"{url}/{address}")
            take_picture(page, f"{address}-{width}")
            if page.evaluate("document.documentElement.scrollWidth") > width:
                too_wide.append(address)
    assert too_wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(url: str, scheme: Any) -> None:
    """In light and dark, axe-core finds nothing serious."""
    with browsing(color_scheme=scheme) as context:
        page = context.new_page()
        for address in sorted(LOOKED_AT):
            page.goto(f"{url}/{address}")
            assert [each for each in serious(page) if each[0] != FOCUSED_BY_BROWSERS] == []
