"""A browser for tests: Debian's chromium, installed where it is missing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.debian import MissingProgramError, alone, install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return the path of a chromium; install Debian's if none is there.

    Raises ``MissingProgramError``.
    """
    with alone():
        if _on_path() is None:
            install("chromium")
    if found := _on_path():
        return found
    raise MissingProgramError("apt-get has installed chromium, and it is not on PATH")


@contextmanager
def start_chromium() -> Iterator[Browser]:
    """Start a browser without a window; it stops with its ``with`` block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which root may not have: it sees pages of our own only.
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds serious, with the elements that it is about."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def _on_path() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
