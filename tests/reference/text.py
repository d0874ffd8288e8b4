"""Docstrings as Markdown, also those below an attribute, which Python itself forgets."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from textwrap import dedent, fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 110
_PAGE = re.compile(r"\bdocs/(?P<path>[\w/-]+\.md)(?:#(?P<anchor>[\w-]*\w))?")
_ROLE = re.compile(r":\w+:(?=`)")


def attribute_docs(owner: Any) -> dict[str, str]:
    """Return the docstrings below the attributes of a class or module, by name."""
    tree = ast.parse(dedent(inspect.getsource(owner)))
    body = tree.body[0].body if isinstance(owner, type) else tree.body  # type: ignore[attr-defined]
    return docs_below(body)


def docs_below(body: Sequence[ast.stmt]) -> dict[str, str]:
    """Return the docstrings below the assignments among these statements, by name."""
    found = {}
    for node, after in pairwise(body):
        match node, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(doc))),
            ):
                found[name] = inspect.cleandoc(doc)
    return found


def markdown(doc: str) -> str:
    """Return a docstring as Markdown: paragraphs and lists, with links to other pages."""
    return "\n\n".join(_block(block) for block in re.split(r"\n\s*\n", doc.strip()))


def cell(doc: str) -> str:
    """Return a docstring as one line of a table."""
    return _inline(" ".join(doc.split())).replace("|", r"\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table. Cells are Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_sentence(doc: str) -> str:
    """Return the sentence that says what it is."""
    return re.split(r"(?<=\.)\s", " ".join(doc.partition("\n\n")[0].split()), maxsplit=1)[0]


def link(name: str) -> str:
    """Return a link to the heading that ``name`` has on the same page."""
    return f"[`{name}`](#{name.lower()})"


def show(text: str) -> None:
    """Print it, with the blank lines that Markdown needs around it."""
    print(f"\n{text}\n")


def _block(block: str) -> str:
    if not block.startswith("* "):
        return fill(_inline(" ".join(block.split())), WIDTH, **_WHOLE_WORDS)
    items = re.split(r"^\* ", block, flags=re.MULTILINE)[1:]
    lines = (_inline(" ".join(item.split())) for item in items)
    return "\n".join(
        fill(f"* {line}", WIDTH, subsequent_indent="  ", **_WHOLE_WORDS) for line in lines
    )


_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


def _inline(text: str) -> str:
    return _PAGE.sub(_link, _ROLE.sub("", text).replace("``", "`"))


def _link(found: re.Match[str]) -> str:
    path, anchor = found["path"], found["anchor"]
    words = (anchor or path.rpartition("/")[2].removesuffix(".md")).replace("-", " ")
    if found.start() == 0 or found.string[: found.start()].endswith(". "):
        words = words[0].upper() + words[1:]
    target = path.removeprefix("reference/") if path.startswith("reference/") else f"../{path}"
    return f"[{words}]({target}{'#' + anchor if anchor else ''})"
