"""docs/reference/signals.md."""

from __future__ import annotations

from instance_lookup import signals
from tests.reference.text import attribute_docs, cell, first_sentence, link, markdown, show, table

DOCS = attribute_docs(signals)


def index() -> None:
    """Show which signals there are."""
    rows = [[link(name), cell(first_sentence(doc))] for name, doc in DOCS.items()]
    show(table(["Signal", "Sent when"], rows))


def entries() -> None:
    """Show each signal with its arguments."""
    show("\n\n".join(f"## {name}\n\n{markdown(doc)}" for name, doc in DOCS.items()))
