"""Check the built site of the docs: no page asks another host, and each link leads somewhere.

Started by ``tox run -e docs`` with the folder of the site. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_IN_CSS = re.compile(r"""(?:url\(|@import(?!\s*url\())\s*(?:"([^"]+)"|'([^']+)'|([^"')\s]+))""")
_CLICKED = ("a", "area", "form")
_ADDRESSES = ("href", "src", "action", "poster", "data")
"""Attributes whose value is an address."""


class Page(HTMLParser):
    """A page, or a style sheet: the places in it, and the addresses that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        """Where readers go when they click."""
        self.parts: set[str] = set()
        """What a browser loads unasked, such as scripts and pictures."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        addresses = {given[name] for name in _ADDRESSES if name in given}
        (self.links if tag in _CLICKED else self.parts).update(addresses)
        self.parts.update(
            each.split()[0] for each in given.get("srcset", "").split(",") if each.strip()
        )
        self.add_style(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.add_style(data)

    def add_style(self, css: str) -> None:
        named = {next(filter(None, match)) for match in _IN_CSS.findall(css)}
        # "#…" is a place in the page, such as a filter of a picture in it.
        self.parts.update(each for each in named if not each.startswith("#"))


def check(site: Path) -> list[str]:
    """Return what is wrong with the site."""
    pages = {path: read(path) for path in sorted(site.rglob("*.html"))}
    sheets = {path: read_style(path) for path in sorted(site.rglob("*.css"))}
    return [
        *([] if pages else [f"{site}: has no pages"]),
        *(
            f"{path.relative_to(site)}: {fault}"
            for path, page in (pages | sheets).items()
            for fault in faults(path, page, pages)
        ),
    ]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def read_style(path: Path) -> Page:
    sheet = Page()
    sheet.add_style(path.read_text(encoding="utf-8"))
    return sheet


def faults(path: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    found = [f"loads {address}" for address in sorted(page.parts) if is_elsewhere(address)]
    for link in sorted(page.links | page.parts):
        to = urlsplit(link)
        if to.scheme or to.netloc:
            continue
        target = (path.parent / unquote(to.path)).resolve() if to.path else path
        if not target.is_file():
            found.append(f"leads to {link}, which is not there")
        elif to.fragment and target in pages and unquote(to.fragment) not in pages[target].ids:
            found.append(f"leads to {link}: no such place")
    return found


def is_elsewhere(address: str) -> bool:
    """Tell whether a browser would ask another host for it."""
    to = urlsplit(address)
    return bool(to.netloc) or to.scheme in {"http", "https"}


if __name__ == "__main__":
    sys.exit("\n".join(check(Path(sys.argv[1]).resolve())) or None)
