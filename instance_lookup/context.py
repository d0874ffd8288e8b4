"""What a lookup is asked with."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instance_lookup.users import (
    LookupUser,
    acurrent_user,
    alookup_user,
    current_user,
    lookup_user,
)

if TYPE_CHECKING:
    from django.http import HttpRequest

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True, slots=True)
class RequestMetadata:
    """Where a lookup comes from, for logs and for the Config Service. It decides nothing."""

    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @classmethod
    def from_request(cls, request: HttpRequest) -> RequestMetadata:
        """Read it from a request. A missing or odd ``X-Request-ID`` is replaced by a fresh one."""
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        return cls(
            ip=request.META.get("REMOTE_ADDR"),
            user_agent=request.META.get("HTTP_USER_AGENT"),
            request_id=given if _REQUEST_ID.fullmatch(given) else fresh_request_id(),
        )


@dataclass(frozen=True, slots=True)
class LookupContext:
    """Who asks for which instance, and from where."""

    user: LookupUser
    instance_id: str | None = None
    """Names the instance outright; identifiers are not asked then."""
    project_id: str | None = None
    """What :class:`ProjectIdentifier` uses before it looks at the request."""
    request_metadata: RequestMetadata = RequestMetadata()
    request: HttpRequest | None = field(default=None, repr=False, compare=False)
    """What identifiers may look at."""

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
        return cls(
            **{
                "request": request,
                "request_metadata": RequestMetadata.from_request(request),
                **fields,
            }
        )


def fresh_request_id() -> str:
    """Return an id for a request that came without one."""
    return secrets.token_hex(16)
