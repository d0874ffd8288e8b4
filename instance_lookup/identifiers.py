"""Which instance? Each identifier looks in one place; none of them does I/O.

What an identifier finds malformed fails the lookup: falling through to the next one would run a
mistyped tenant's job in another tenant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, Self

from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port
from django.urls import Resolver404, resolve
from msgspec import Struct
from msgspec.structs import replace

from instance_lookup.exceptions import InvalidContext

if TYPE_CHECKING:
    from collections.abc import Collection

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

_SHOWN = 100
"""Characters of a malformed id that an error message repeats."""


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
class HeaderIdentifier(Identifier):
    """The request header ``INSTANCE_HEADER``."""

    header: str = "X-Instance-ID"
    explicit = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read ``INSTANCE_HEADER``."""
        return cls(settings.instance_header)

    @property
    def headers(self) -> tuple[str, ...]:  # type: ignore[override]  # fixed by the header's name
        """The header."""
        return (self.header,)

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the instance that the header names."""
        value = _header(request, self.header)
        return None if value is None else InstanceRef(value)


@dataclass(frozen=True)
class ProjectIdentifier(Identifier):
    """A project id: the context's, the URL's ``project_id``, or the header ``PROJECT_HEADER``."""

    header: str = "X-Project-ID"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read ``PROJECT_HEADER``."""
        return cls(settings.project_header)

    @property
    def headers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The header."""
        return (self.header,)

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref | None:
        """Return the project that is named."""
        if (outright := self.outright(context, request)) is not None:
            return outright
        value = _header(request, self.header)
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
    """What stands before ``domain`` in the host: ``acme`` of ``acme.example.com``.

    It has to be told the domain, so ``IDENTIFIERS`` holds an instance of it, not its path.
    Host names have no case: the id is taken in lower case.
    """

    domain: str
    ignore: tuple[str, ...] = ("www",)
    """Names that are no instance."""
    explicit = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Refuse: no setting says which domain it is."""
        raise ImproperlyConfigured(
            f"{cls.__name__} has to be told its domain: "
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


def identify(
    context: LookupContext, identifiers: Collection[Identifies], settings: Settings
) -> Ref:
    """Return what the context names. Raise ``InvalidContext`` where that is not one thing."""
    if context.instance_id is not None:
        return _checked(InstanceRef(context.instance_id), settings)
    named: Ref | None = None
    outright: Ref | None = None
    for identifier in identifiers:
        explicit = getattr(identifier, "explicit", False)
        if named is not None and not explicit:
            continue
        ref = identifier.identify(context, context.request)
        if ref is None:
            continue
        _checked(ref, settings)
        if explicit and outright is not None and ref != outright:
            raise InvalidContext(
                f"The request names two instances: {_id(outright)!r} and {_id(ref)!r}."
            )
        if explicit:
            outright = ref
        named = named or ref
    if named is None:
        raise InvalidContext(
            f"The request names no instance: send {settings.instance_header}, "
            "or give the user a default."
        )
    if context.project_id is None and context.request is None:
        return named
    return _within(named, context, identifiers, settings)


def is_id(value: object, settings: Settings) -> bool:
    """Tell whether this may be the id of an instance or a project."""
    return isinstance(value, str) and settings.id_regex.fullmatch(value) is not None


def _within(
    named: Ref, context: LookupContext, identifiers: Collection[Identifies], settings: Settings
) -> Ref:
    """Return what is named together with the project that it has to agree with.

    A view at ``/projects/<project_id>/`` works on that project, whatever a client's header says.
    """
    for identifier in identifiers:
        if isinstance(identifier, ProjectIdentifier) and isinstance(named, InstanceRef):
            project = identifier.outright(context, context.request)
            if project is not None:
                _checked(project, settings)
                return replace(named, within=project)
    return named


def about(ref: Ref) -> dict[str, str]:
    """Return what is named, for the details of an error."""
    kind = "instance_id" if isinstance(ref, InstanceRef) else "project_id"
    return {kind: _id(ref)}


def _checked(ref: Ref, settings: Settings) -> Ref:
    value: Any  # callers may hand over anything
    if isinstance(ref, InstanceRef):
        value = ref.instance_id
    elif isinstance(ref, ProjectRef):
        value = ref.project_id
    else:
        raise TypeError(
            f"identify() must return an InstanceRef, a ProjectRef or None, not {type(ref).__name__}"
        )
    if is_id(value, settings):
        return ref
    kind = "instance" if isinstance(ref, InstanceRef) else "project"
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    raise InvalidContext(
        f"{shown} is not a valid {kind} id (one that matches {settings.instance_id_pattern})."
    )


def _id(ref: Ref) -> str:
    return ref.instance_id if isinstance(ref, InstanceRef) else ref.project_id


def _header(request: HttpRequest | None, name: str) -> str | None:
    return None if request is None else request.META.get(_in_meta(name))


@lru_cache(maxsize=16)
def _in_meta(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _url_kwarg(request: HttpRequest | None, name: str) -> str | None:
    if request is None:
        return None
    match: Any = request.resolver_match
    if match is None:  # before routing, as in a middleware
        try:
            match = resolve(request.path_info, getattr(request, "urlconf", None))
        except Resolver404:
            return None
    value = match.kwargs.get(name)
    return None if value is None else str(value)
