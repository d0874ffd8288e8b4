"""The places that name an instance. Each identifier looks at one; none of them does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port
from django.urls import Resolver404, resolve
from msgspec import Struct

if TYPE_CHECKING:
    from django.http import HttpRequest

    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext


class InstanceRef(Struct, frozen=True):
    """An instance, named by its id."""

    instance_id: str
    within: ProjectRef | None = None
    """A project that the URL or the calling code names as well: it has to be of this instance."""


class ProjectRef(Struct, frozen=True):
    """The instance that a project belongs to."""

    project_id: str


Ref = InstanceRef | ProjectRef


class Identifies(Protocol):
    """What ``IDENTIFIERS`` are; :class:`Identifier` is a convenient base."""

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return what is named, ``None`` when nothing is. Raise ``InvalidContext``."""


class Identifier:
    """Base of the identifiers that ship."""

    explicit = False
    """True: names an instance outright, so that two of these must not disagree."""
    headers: tuple[str, ...] = ()
    """The request headers looked at, for ``Vary``."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the identifier that ``IDENTIFIERS`` names by its class."""
        return cls()


@dataclass(frozen=True)
class _InHeader(Identifier):
    """Base of identifiers that look at one request header."""

    header: str

    @property
    def headers(self) -> tuple[str, ...]:  # type: ignore[override]  # fixed by the header's name
        """The header."""
        return (self.header,)

    @cached_property
    def key(self) -> str:
        """What the header is called in ``request.META``."""
        return "HTTP_" + self.header.upper().replace("-", "_")


@dataclass(frozen=True)
class HeaderIdentifier(_InHeader):
    """The request header ``INSTANCE_HEADER``."""

    header: str = "X-Instance-ID"
    explicit = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read ``INSTANCE_HEADER``."""
        return cls(settings.instance_header)

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the instance that the header names."""
        value = None if request is None else request.META.get(self.key)
        return None if value is None else InstanceRef(value)


@dataclass(frozen=True)
class ProjectIdentifier(_InHeader):
    """A project id: the context's, the URL's ``project_id``, or the header ``PROJECT_HEADER``."""

    header: str = "X-Project-ID"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read ``PROJECT_HEADER``."""
        return cls(settings.project_header)

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the project that is named."""
        if (outright := self.outright(context, request)) is not None:
            return outright
        value = None if request is None else request.META.get(self.key)
        return None if value is None else ProjectRef(value)

    def outright(self, context: LookupContext, request: HttpRequest | None) -> ProjectRef | None:
        """Return the project that the calling code or the URL names: what a view will work on."""
        value = context.project_id
        if value is None:
            value = _url_kwarg(request, "project_id")
        return None if value is None else ProjectRef(value)


@dataclass(frozen=True)
class UserDefaultIdentifier(Identifier):
    """The user's own default instance."""

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the user's default instance."""
        default = context.user.default_instance_id
        return None if default is None else InstanceRef(default)


@dataclass(frozen=True)
class PathIdentifier(Identifier):
    """The URL's ``instance_id``."""

    explicit = True

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the instance that the URL names."""
        value = _url_kwarg(request, "instance_id")
        return None if value is None else InstanceRef(value)


@dataclass(frozen=True)
class SubdomainIdentifier(Identifier):
    """The host's name in front of ``domain``: ``acme`` of ``acme.example.com``.

    It needs the domain, so ``IDENTIFIERS`` holds an object of it, not its path.
    Host names have no case: the id is taken in lower case.
    """

    domain: str
    ignore: tuple[str, ...] = ("www",)
    """Host names that are not an instance."""
    explicit = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Refuse: no setting says which domain it is."""
        raise ImproperlyConfigured(
            f"{cls.__name__} needs its domain: "
            f"put {cls.__name__}('example.com') into IDENTIFIERS, not its path."
        )

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the instance that the host names."""
        if request is None:
            return None
        host, _ = split_domain_port(request.get_host())
        label = host.removesuffix("." + self.domain.lower().strip("."))
        if label == host or label in map(str.lower, self.ignore):
            return None
        return InstanceRef(label)


@dataclass(frozen=True)
class QueryIdentifier(Identifier):
    """The query parameter ``name``, for browsers: their WebSocket API cannot send a header.

    Sent twice it is refused, as a header is. What a query holds is in access logs: an id may be
    there, a token may not.
    """

    name: str = "instance_id"
    explicit = True

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the instance that the query names."""
        values = [] if request is None else request.GET.getlist(self.name)
        return InstanceRef(",".join(values)) if values else None


def about(ref: Ref) -> dict[str, Any]:
    """Return what is named, for the details of an error."""
    kind = "instance_id" if isinstance(ref, InstanceRef) else "project_id"
    return {kind: id_of(ref)}


def id_of(ref: Ref) -> str:
    """Return the id of what is named."""
    return ref.instance_id if isinstance(ref, InstanceRef) else ref.project_id


def _url_kwarg(request: HttpRequest | None, name: str) -> str | None:
    if request is None:
        return None
    match: Any = getattr(request, "resolver_match", None)
    if match is None:  # before routing, as in a middleware
        try:
            match = resolve(request.path_info, getattr(request, "urlconf", None))
        except Resolver404:
            return None
    value = match.kwargs.get(name)
    return None if value is None else str(value)
