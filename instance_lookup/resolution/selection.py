"""Which instance a context names: the rules above the single identifiers.

What an identifier finds malformed fails the lookup: falling through to the next one would run a
mistyped tenant's job in another tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from instance_lookup.exceptions import InvalidContext
from instance_lookup.identifiers import (
    HeaderIdentifier,
    InstanceRef,
    PathIdentifier,
    ProjectIdentifier,
    ProjectRef,
    Ref,
    UserDefaultIdentifier,
    id_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext
    from instance_lookup.identifiers import Identifies

_OURS = (HeaderIdentifier, ProjectIdentifier, UserDefaultIdentifier, PathIdentifier)
"""Look at headers, the URL and the user's default, and at nothing else."""
_SHOWN = 100
"""Characters of a malformed id that an error message repeats."""


class Selector:
    """Finds what contexts name, by the identifiers given, in their order. Does no I/O."""

    def __init__(self, identifiers: Collection[Identifies], settings: Settings) -> None:
        self._asked = tuple(
            (each.identify, bool(getattr(each, "explicit", False))) for each in identifiers
        )
        self._projects = tuple(each for each in identifiers if isinstance(each, ProjectIdentifier))
        self.headers: tuple[str, ...] = tuple(
            header for each in identifiers for header in getattr(each, "headers", ())
        )
        """The request headers that may decide the instance."""
        self.reads = _reads(identifiers)
        """What of ``request.META`` may decide, beside URL and user. ``None``: unknown, since an
        identifier of the project may read anything."""
        self._settings = settings
        self._matches = settings.id_regex.fullmatch

    def select(self, context: LookupContext) -> Ref:
        """Return what the context names. Raise ``InvalidContext`` if it names nothing, or several.

        An instance comes with the project that the URL or the calling code names as well.
        """
        given, request = context.instance_id, context.request
        chosen: Ref | None = None if given is None else self.check(InstanceRef(given))
        outright: Ref | None = None
        for identify, explicit in self._asked if given is None else ():
            if chosen is not None and not explicit:
                continue
            if (ref := identify(context, request)) is None:
                continue
            self.check(ref)
            if explicit:
                if outright is not None and ref != outright:
                    raise InvalidContext(
                        f"The request names two instances: {id_of(outright)!r} and {id_of(ref)!r}."
                    )
                outright = ref
            chosen = chosen or ref
        if chosen is None:
            raise InvalidContext(
                f"The request names no instance: send {self._settings.instance_header}, "
                "or give the user a default."
            )
        if request is None and context.project_id is None:
            return chosen
        for identifier in self._projects:
            if (project := identifier.outright(context, request)) is not None:
                return self._within(chosen, project)
        return chosen

    def is_id(self, value: object) -> bool:
        """Tell whether this may be the id of an instance or a project."""
        return isinstance(value, str) and self._matches(value) is not None

    def check(self, ref: Ref) -> Ref:
        """Return ``ref``. Raise ``InvalidContext`` where what it names cannot be an id.

        Raises ``TypeError`` for other than a ref: what a project's identifier may have returned.
        """
        value: Any  # callers may hand over anything
        if isinstance(ref, InstanceRef):
            value = ref.instance_id
        elif isinstance(ref, ProjectRef):
            value = ref.project_id
        else:
            raise TypeError(
                "identify() must return an InstanceRef, a ProjectRef or None, "
                f"not {type(ref).__name__}"
            )
        if isinstance(value, str) and self._matches(value):
            return ref
        kind = "instance" if isinstance(ref, InstanceRef) else "project"
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "…"
        raise InvalidContext(
            f"{shown} is not a valid {kind} id "
            f"(one that matches {self._settings.instance_id_pattern})."
        )

    def _within(self, chosen: Ref, project: ProjectRef) -> Ref:
        """Return ``chosen``, together with the project that it has to agree with.

        A view at ``/projects/<project_id>/`` works on that project, whatever a client's header
        or body says.
        """
        self.check(project)
        return replace(chosen, within=project) if isinstance(chosen, InstanceRef) else chosen


def _reads(identifiers: Collection[Identifies]) -> tuple[str, ...] | None:
    """Return the keys of ``request.META`` that ours look at; those of a project may do anything."""
    if any(type(each) not in _OURS for each in identifiers):
        return None
    return tuple(each.key for each in identifiers if hasattr(each, "key"))
