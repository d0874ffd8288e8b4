"""The results of management, one for each id: a failure of one does not stop the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from instance_lookup.concurrency import pools
from instance_lookup.concurrency.pools import in_pool
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    LookupErrorType,
)
from instance_lookup.identifiers import InstanceRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

logger = logging.getLogger("instance_lookup")

NO_LIST = "no_list"
"""``Failure.reason`` where the Config Service has no list of its instances: it is not down."""

_STATUSES_WITHOUT_LIST = (404, 405, 501)
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be done for one id, without secrets and without a traceback."""

    id: str | None
    """The id; ``None``: for all instances."""
    error: str
    """A ``LookupErrorType``, or the class of an unexpected error."""
    reason: str | None
    """Why there is no usable answer of the Config Service, such as ``"timeout"``."""
    message: str
    """What happened, in words."""
    kind: str = "instance"
    """Or ``"project"``."""

    @classmethod
    def of(cls, name: str | None, error: Exception, kind: str = "instance") -> Failure:
        """Return the failure for ``error`` about the id ``name`` of a ``kind``.

        An unexpected error is logged with its traceback.
        """
        if isinstance(error, InstanceLookupError):
            reason = error.details.get("reason")
            return cls(name, error.type.value, reason and str(reason), str(error), kind)
        logger.error(
            "Failed for %s %r: %s. This is a bug, see the traceback; other ids are not affected.",
            kind,
            name,
            type(error).__name__,
            exc_info=error,
        )
        return cls(name, type(error).__name__, None, "unexpected; the log has the traceback", kind)

    @property
    def name(self) -> str:
        """What failed, fit for a line of text."""
        return "all instances" if self.id is None else printable(self.id) or "''"

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.name}: " + printable(f"{self.error}{reason}: {self.message}")

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        return {
            f"{self.kind}_id": self.id,
            "error": self.error,
            "reason": self.reason,
            "message": self.message,
        }


class Listing:
    """The ids of all instances, as the Config Service lists them.

    Iterating ends early when it fails to; ``failure`` then says why.
    """

    def __init__(self, resolver: InstanceResolver) -> None:
        self._resolver = resolver
        self.failure: Failure | None = None

    @property
    def has_no_list(self) -> bool:
        """Whether the Config Service has no such list, which does not mean that it is down."""
        return self.failure is not None and self.failure.reason == NO_LIST

    def __iter__(self) -> Iterator[str]:
        any_came = False
        try:
            for instance_id in self._resolver.instance_ids():
                any_came = True
                yield instance_id
        except Exception as exc:  # noqa: BLE001 - a backend of the project's own may raise anything
            # A list that breaks off is there: whatever its next page answers is a failure.
            missing = None if any_came else no_list(exc)
            self.failure = missing or Failure.of(None, exc)


def no_list(error: Exception) -> Failure | None:
    """Return what to tell where ``error`` means that there is no list, else ``None``."""
    match error:
        case NotImplementedError() | AttributeError(name="list_instances"):
            why: object = "list_instances is not implemented"
        case ConfigServiceUnavailable() if error.details.get("status") in _STATUSES_WITHOUT_LIST:
            why = error.details["status"]
        case _:
            return None
    message = f"The Config Service has no list of instances ({why})."
    return Failure(None, LookupErrorType.CONFIG_SERVICE_UNAVAILABLE.value, NO_LIST, message)


def check_id(resolver: InstanceResolver, instance_id: str) -> str:
    """Return the id. Raise ``InvalidContext`` unless it is one, as the resolver would."""
    resolver.selector.check(InstanceRef(instance_id))
    return instance_id


def for_each(
    ids: Iterable[str], do: Callable[[str], T], kind: str = "instance"
) -> Iterator[T | Failure]:
    """Yield what ``do`` returns for each of ``ids``, once each, or why it failed.

    ``kind`` is what they are the ids of: ``"instance"`` or ``"project"``.
    """
    for name in once_each(ids):
        try:
            yield do(name)
        except InstanceLookupError as exc:
            yield Failure.of(name, exc, kind)


async def awaiting_each(outcomes: Iterator[T]) -> AsyncIterator[T]:
    """Yield what ``outcomes`` does, each waited for in a thread: the event loop goes on."""
    while (outcome := await in_pool(pools.refreshes, lambda: next(outcomes, None))) is not None:
        yield outcome


def once_each(instance_ids: Iterable[H]) -> Iterator[H]:
    """Yield the ids in their order, each only once."""
    seen: set[H] = set()
    for instance_id in instance_ids:
        if instance_id not in seen:
            seen.add(instance_id)
            yield instance_id


def parse_ids(data: bytes) -> list[str]:
    """Return the ids in a text: one a line, without blank lines and what follows a ``#``.

    What is not UTF-8 survives as a malformed id, to be reported like any other.
    """
    lines = data.decode("utf-8-sig", "surrogateescape").split("\n")
    ids = (_COMMENT.sub("", line).strip() for line in lines)
    return [instance_id for instance_id in ids if instance_id]


def printable(text: str) -> str:
    """Return ``text`` fit for one line of a terminal: control characters are escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]
