"""What a lookup is asked with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from random import getrandbits
from typing import Any

from django.http import HttpRequest
from msgspec import Struct

from instance_lookup.users import (
    LookupUser,
    acurrent_user,
    alookup_user,
    current_user,
    lookup_user,
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True, eq=False)
class RequestMetadata:
    """Where a lookup comes from, for logs and for the Config Service. It decides nothing."""

    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @classmethod
    def from_request(cls, request: HttpRequest) -> RequestMetadata:
        """Read it from a request. A missing or odd ``X-Request-ID`` is replaced by a fresh one."""
        return _OfRequest(request)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestMetadata) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return "RequestMetadata(ip={!r}, user_agent={!r}, request_id={!r})".format(*self._values())

    def _values(self) -> tuple[str | None, str | None, str | None]:
        return self.ip, self.user_agent, self.request_id


class _OfRequest(RequestMetadata):
    """Read when somebody asks for it, since most lookups need none of it."""

    _meta: dict[str, str]

    def __init__(self, request: HttpRequest) -> None:
        self.__dict__["_meta"] = request.META  # it is frozen

    @cached_property
    def ip(self) -> str | None:
        return self._meta.get("REMOTE_ADDR")

    @cached_property
    def user_agent(self) -> str | None:
        return self._meta.get("HTTP_USER_AGENT")

    @cached_property
    def request_id(self) -> str:
        given = self._meta.get("HTTP_X_REQUEST_ID", "")
        return given if _REQUEST_ID.fullmatch(given) else fresh_request_id()


class LookupContext(Struct, frozen=True):
    """Who asks for which instance, and from where."""

    user: LookupUser
    instance_id: str | None = None
    """Names the instance outright; identifiers are not asked then."""
    project_id: str | None = None
    """What :class:`ProjectIdentifier` uses before it looks at the request."""
    request_metadata: RequestMetadata = RequestMetadata()
    request: HttpRequest | None = None
    """What identifiers may look at."""

    # The request takes no part: it is no value, and shows what it was sent.

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LookupContext) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((*self._values().values(),))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "request"}

    @classmethod
    def from_request(cls, request: HttpRequest, **overrides: Any) -> LookupContext:
        """Return the context of a request; ``overrides`` are fields, such as ids from its body."""
        if "user" not in overrides:
            overrides["user"] = lookup_user(current_user(request), request)
        return cls._of(request, overrides)

    @classmethod
    async def afrom_request(cls, request: HttpRequest, **overrides: Any) -> LookupContext:
        """Return the context of a request, without blocking the event loop."""
        if "user" not in overrides:
            overrides["user"] = await alookup_user(await acurrent_user(request), request)
        return cls._of(request, overrides)

    @classmethod
    def _of(cls, request: HttpRequest, fields: dict[str, Any]) -> LookupContext:
        fields.setdefault("request", request)
        if "request_metadata" not in fields:
            fields["request_metadata"] = RequestMetadata.from_request(request)
        return cls(**fields)


def fresh_request_id() -> str:
    """Return an id for a request that came without one: for logs, so it is no secret."""
    return f"{getrandbits(128):032x}"
