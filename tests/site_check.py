"""Check the built site of the docs: no page asks another host, and each link leads somewhere.

Started by ``tox run -e docs`` with the folder of the site. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_IN_CSS = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""")
_CLICKED = ("a", "area", "form")


class Page(HTMLParser):
    """A page: the places in it, and the addresses that it names."""

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
        addresses = {given[name] for name in ("href", "src", "action") if name in given}
        addresses.update(_IN_CSS.findall(given.get("style", "")))
        (self.links if tag in _CLICKED else self.parts).update(addresses)


def check(site: Path) -> list[str]:
    """Return what is wrong with the site."""
    pages = {path: read(path) for path in sorted(site.rglob("*.html"))}
    return [
        *([] if pages else [f"{site}: has no pages"]),
        *(f"{path.relative_to(site)}: {fault}" for path in pages for fault in faults(path, pages)),
        *(
            f"{path.relative_to(site)}: loads {address}"
            for path in sorted(site.rglob("*.css"))
            for address in _IN_CSS.findall(path.read_text(encoding="utf-8"))
            if is_elsewhere(address)
        ),
    ]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(path: Path, pages: dict[Path, Page]) -> list[str]:
    page = pages[path]
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
