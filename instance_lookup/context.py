"""The input of a lookup."""

from __future__ import annotations

import re
import secrets
from typing import Any

from django.http import HttpRequest
from msgspec import Struct, structs

from instance_lookup.request_user import (
    acurrent_user,
    alookup_user,
    current_user,
    lookup_user,
)
from instance_lookup.users import LookupUser

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestMetadata(Struct, frozen=True):
    """Where a lookup comes from, for logs and for the Config Service. It decides nothing."""

    ip: str | None = None
    """The client's address."""
    user_agent: str | None = None
    """What the client calls itself."""
    request_id: str | None = None
    """Sent to the Config Service as ``X-Request-ID``."""

    @classmethod
    def from_request(cls, request: HttpRequest) -> RequestMetadata:
        """Return the metadata of a request, Django's or DRF's. One request always has the same.

        A missing or odd ``X-Request-ID`` is replaced by a fresh one.
        """
        # Not by drf_request, which loads DRF: this is imported with the package itself.
        plain: Any = getattr(request, "_request", request)
        known: RequestMetadata | None = plain.__dict__.get("_instance_metadata")
        if known is None:
            get = plain.META.get
            given = get("HTTP_X_REQUEST_ID", "")
            request_id = given if _REQUEST_ID.fullmatch(given) else fresh_request_id()
            known = cls(get("REMOTE_ADDR"), get("HTTP_USER_AGENT"), request_id)
            plain.__dict__["_instance_metadata"] = known
        return known


class LookupContext(Struct, frozen=True):
    """Who asks for which instance, and from where."""

    user: LookupUser
    """Who asks."""
    instance_id: str | None = None
    """Names the instance outright, before any header, URL or default. A project that
    :class:`ProjectIdentifier` finds in this context or in the URL has to belong to it."""
    project_id: str | None = None
    """What :class:`ProjectIdentifier` uses before it looks at the request."""
    request_metadata: RequestMetadata = RequestMetadata()
    """Where none is given, a lookup that needs the cache or the service takes the request's."""
    request: HttpRequest | None = None
    """What identifiers may look at."""

    # Without the request: it is not a value, and its repr shows what the client sent.

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

    def with_metadata(self) -> LookupContext:
        """Return the context with the metadata of its request, unless it has some."""
        if self.request is None or self.request_metadata != RequestMetadata():
            return self
        metadata = RequestMetadata.from_request(self.request)
        return structs.replace(self, request_metadata=metadata)

    @classmethod
    def _of(cls, request: HttpRequest, fields: dict[str, Any]) -> LookupContext:
        fields.setdefault("request", request)
        if "request_metadata" not in fields:
            fields["request_metadata"] = RequestMetadata.from_request(request)
        return cls(**fields)


def fresh_request_id() -> str:
    """Return an id for a request that came without one."""
    return secrets.token_hex(16)
