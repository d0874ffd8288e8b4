from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.site_check import check

if TYPE_CHECKING:
    from pathlib import Path

OTHER = """
<link href="style.css"><h1 id="top">Other</h1>
<a href="index.html#start">back</a> <a href="#top">up</a> <a href="https://example.com/">away</a>
<img src="picture%20one.png">
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages in which nothing is wrong."""
    (tmp_path / "index.html").write_text('<p id="start">', encoding="utf-8")
    (tmp_path / "style.css").write_text("p { background: url('picture one.png') }")
    (tmp_path / "picture one.png").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "other.html").write_text(OTHER, encoding="utf-8")
    return tmp_path


def test_site_in_which_nothing_is_wrong(site: Path) -> None:
    """Links to other sites are links: a browser does not follow them unasked."""
    assert check(site) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<script src="https://cdn.example/x.js">', "loads https://cdn.example/x.js"),
        ('<link href="//fonts.example/f.css">', "loads //fonts.example/f.css"),
        ('<p style="background: url(http://a.example/i)">', "loads http://a.example/i"),
        ("<style>p { src: url('//a.example/f') }</style>", "loads //a.example/f"),
        ("<style>@import url(gone.css);</style>", "leads to gone.css, which is not there"),
        ('<img srcset="../style.css, //a.example/i 2x">', "loads //a.example/i"),
        ('<video poster="gone.png">', "leads to gone.png, which is not there"),
        ('<object data="//a.example/o">', "loads //a.example/o"),
        ('<a href="gone.html">', "leads to gone.html, which is not there"),
        ('<img src="gone.png">', "leads to gone.png, which is not there"),
        ('<a href="../other.html#no">', "leads to ../other.html#no: no such place"),
        ('<a href="#no">', "leads to #no: no such place"),
    ],
)  # fmt: skip
def test_page_with_a_fault(site: Path, html: str, fault: str) -> None:
    """What another host would have to answer is found, and so is a link to nothing."""
    (site / "deep" / "page.html").write_text(html, encoding="utf-8")
    assert check(site) == [f"deep/page.html: {fault}"]


@pytest.mark.parametrize(
    "css",
    [
        '@import "https://a.example/x"',
        '@import url("https://a.example/x")',
        "p { src: url(//a.example/f) }",
    ],
)
def test_style_from_another_host(site: Path, css: str) -> None:
    """A style sheet loads no font, picture or sheet of another host."""
    (site / "style.css").write_text(css, encoding="utf-8")
    (fault,) = check(site)
    assert fault.startswith("style.css: loads ")


def test_style_that_names_what_is_gone(site: Path) -> None:
    """A font or picture that a style sheet names is there, beside the sheet."""
    (site / "deep" / "a.css").write_text("p { background: url(../picture%20one.png) }")
    (site / "style.css").write_text("p { src: url('gone.woff?v=1#x'), url(data:font/woff,x) }")
    assert check(site) == ["style.css: leads to gone.woff?v=1#x, which is not there"]


def test_site_without_pages(tmp_path: Path) -> None:
    """A build that wrote nothing does not pass."""
    assert check(tmp_path) == [f"{tmp_path}: has no pages"]
