"""Makes a site of these pages, by Sphinx: ``tox run -e docs``.

The pages are plain Markdown, so that GitHub shows them as well. What Sphinx needs beside that is
not in the pages but here: the order of the navigation, and the addresses of files outside ``docs``.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from mdit_py_plugins.anchors.index import slugify
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PACKAGE["urls"]["Homepage"]
INCLUDED = {
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "SECURITY.md": DOCS / "security-policy.md",
}
"""Files outside of ``docs`` that are pages of the site, and the page that includes each."""
FENCED = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")

project = PACKAGE["name"]
release = version = PACKAGE["version"]
extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
nitpicky = True
myst_heading_anchors = 6  # a heading is linked to as on GitHub

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = html_show_sphinx = False
html_use_index = False  # it would be empty
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}

# What is copied from a console is what you type: no prompt, and nothing that a command prints.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("source-read", lead_out)


def add_navigation(_: Sphinx, docname: str, source: list[str]) -> None:
    """Have the first page of a folder lead to the others of the folder.

    They come in the order in which the page links to them. Those that it leaves out come last.
    """
    page = DOCS / f"{docname}.md"
    if page.name not in {"README.md", "index.md"}:
        return
    below = {*page.parent.glob("*.md"), *page.parent.glob("*/README.md")} - {page}
    linked = [page.parent / match[1] for match in LINK.finditer(source[0])]
    pages = dict.fromkeys([*filter(below.__contains__, linked), *sorted(below)])
    names = [str(each.relative_to(page.parent).with_suffix("")) for each in pages]
    if names:
        source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", "", *names, "```\n"])


def lead_out(_: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to files outside of ``docs`` into addresses that readers of the site can open."""
    folder = (DOCS / docname).parent

    def address(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = (folder / target).resolve()
        if not target.startswith("../") or path.is_relative_to(DOCS):
            return match[0]
        if fault := find_fault(path, anchor):
            logger.warning("%s %s", match[0], fault, location=docname)
        if path in INCLUDED:
            return f"]({os.path.relpath(INCLUDED[path], folder)}{anchor})"
        kind = "tree" if path.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{os.path.relpath(path, ROOT)}{anchor})"

    source[0] = LINK.sub(address, source[0])


def find_fault(path: Path, anchor: str) -> str:
    """Return why a link leads nowhere, or nothing."""
    if not path.exists() or not path.is_relative_to(ROOT):
        return "leads to a file that the repository does not have"
    if anchor and path.suffix == ".md":
        text = FENCED.sub("", path.read_text(encoding="utf-8"))  # "# …" is a comment in there
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        if anchor[1:] not in map(slugify, headings):
            return "leads to a heading that the page does not have"
    return ""
