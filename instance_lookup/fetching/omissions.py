"""What is left out of documents: counted each time, and said when it changes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from instance_lookup.cache.leniency import LeftOut

logger = logging.getLogger("instance_lookup")

_LIMIT = 10_000
"""Documents that are remembered as incomplete. If one is forgotten, its line is logged again."""
_NAMED = 10
"""Parts that one line names."""


class Omissions(Guarded):
    """What was left out of the last answer for each document, by the document's name."""

    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__()
        self._count = count
        self.said: OrderedDict[str, int] = OrderedDict()

    def note(self, document: str, left_out: Collection[LeftOut]) -> None:
        """Count what was left out of an answer, and log it unless the last one lacked the same.

        ``document`` is what it is called, such as ``instance 'acme'``.
        """
        for _ in left_out:
            self._count("rejected")
        if self._changes(document, hash(frozenset(left_out))) and left_out:
            names = [part.place for part in left_out]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            # Code may miss a flag or a URL; only people read a date or a description.
            is_minor = all(part.is_decoration for part in left_out)
            logger.log(
                logging.INFO if is_minor else logging.WARNING,
                "The Config Service sent values of a wrong kind for %s. It is used without them: "
                "%s%s. Correct them in the Config Service; docs/config-service.md says what each "
                "may be.",
                document,
                ", ".join(names[:_NAMED]),
                more,
            )

    def _changes(self, document: str, what: int) -> bool:
        if what == _NOTHING and document not in self.said:
            return False
        with self._lock:
            before = self.said.pop(document, _NOTHING)
            if what != _NOTHING:
                self.said[document] = what
            if len(self.said) > _LIMIT:
                self.said.popitem(last=False)
        return before != what


_NOTHING = hash(frozenset())
