"""What is sent to the Config Service: seen before it is sent, and sent when an operator asks."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from instance_lookup.backends.base import Document, Query, describe
from instance_lookup.backends.headers import headers_of
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.cache.entry import OtherSpelling, Rejected, read_document
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    forget_locals,
)
from instance_lookup.fetching.refusals import Refused
from instance_lookup.frozen import MASK, masked_url
from instance_lookup.operations.explanation import Call
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Entry
    from instance_lookup.cache.kinds import Kind
    from instance_lookup.fetching.fetcher import Asker
    from instance_lookup.resolver import InstanceResolver

D = TypeVar("D", bound=Struct)

_SHOWN = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "if-none-match",
        "user-agent",
        "x-request-id",
        "x-user-id",
    }
)
"""Headers whose values are no secrets. What else a backend sends may be a credential."""


class Heard(Struct, Generic[D], frozen=True):
    """What the Config Service said to one call, of which nothing is kept."""

    said: str
    seconds: float
    document: D | None = None
    error: InstanceLookupError | None = None


def build_query(resolver: InstanceResolver, asker: Asker, held: Entry[Any] | None) -> Query:
    """Return how a lookup would ask: for ``asker``, with the tag of the copy that is ``held``."""
    deadline = Deadline.after(resolver.settings.config_service_timeout)
    etag = held.etag if held is not None and held.document is not None else None
    return Query(deadline, asker.request_id, asker.user_id, etag)


def describe_call(backend: Any, kind: str, asked: str, query: Query) -> Call:
    """Return what ``backend`` would send, without sending it.

    ``kind`` is ``"instance"`` or ``"project"``, ``asked`` the id, ``query`` how to ask.
    """
    headers = headers_of(query)
    to = f"{describe(backend)}: {kind} {asked!r}"
    if isinstance(backend, HttpConfigService):
        try:
            with backend.make_session() as session:
                headers = {
                    **{name: str(value) for name, value in session.headers.items()},
                    **headers,
                }
                if session.auth:
                    headers["Authorization"] = MASK
            to = f"GET {masked_url(backend.location)}{masked_url(backend.path_of(kind, asked))}"
        except Exception as exc:  # noqa: BLE001  # of an override
            to = f"{to} ({type(exc).__name__} in {type(backend).__name__})"
    return Call(to, {name: _masked(name, value) for name, value in headers.items()})


def call(backend: Any, kind: Kind[D], asked: str, query: Query, held: Entry[D] | None) -> Heard[D]:
    """Ask ``backend`` for one document of ``kind``, and keep nothing of the answer. Raises nothing.

    ``asked`` is the id, ``query`` how to ask, ``held`` the copy whose tag it names.
    """
    get = backend.get_instance if kind.name == "instance" else backend.get_project
    began = perf_counter()
    try:
        answer = get(asked, query)
        if isinstance(answer, Document):
            document = read_document(kind, asked, answer.body).document
            said = str(answer.status or "a document")
        elif held is not None and held.document is not None:
            document, said = held.document, "304: the copy still counts"
        else:
            raise Rejected("answered 'not modified', but no copy is held")
        return Heard(said, perf_counter() - began, document)
    except (InstanceNotFound, OtherSpelling) as exc:
        gone = (
            "404: there is none"
            if isinstance(exc, InstanceNotFound)
            else "the id, in another spelling"
        )
        return Heard(gone, perf_counter() - began, error=InstanceNotFound(str(exc)))
    except AccessDenied as exc:
        return Heard("403: not this user", perf_counter() - began, error=Refused(str(exc)))
    except Exception as exc:  # noqa: BLE001  # of any backend
        forget_locals(exc)  # its frames may hold the document
        seconds = perf_counter() - began
        return Heard(_said(exc), seconds, error=_unavailable(exc))


def _said(exc: Exception) -> str:
    if isinstance(exc, Rejected):
        return f"rejected: {exc}"
    if isinstance(exc, InstanceLookupError):
        status = exc.details.get("status")
        reason = str(exc.details.get("reason", exc.type.value))
        error = exc.details.get("error")
        return " ".join(str(each) for each in (reason, status, error) if each)
    return f"raised {type(exc).__name__}"


def _unavailable(exc: Exception) -> ConfigServiceUnavailable:
    reason = "rejected" if isinstance(exc, Rejected) else type(exc).__name__
    if isinstance(exc, InstanceLookupError):
        reason = str(exc.details.get("reason", reason))
    return ConfigServiceUnavailable("no usable answer", reason=reason)


def _masked(name: str, value: str) -> str:
    return value if name.lower() in _SHOWN else MASK
