"""The protocol between the resolver and wherever configurations come from.

A backend fetches; it does not cache, retry or judge. To write one, subclass
:class:`ConfigServiceBackend` and name the class in ``CONFIG_SERVICE_BACKEND``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.resilience.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Query:
    """How to ask.

    The answer has to be there by the ``deadline``, whose ``remaining()`` is in seconds.
    ``request_id`` names the request that it is for, in the logs of both sides. ``user_id`` is who
    asks (``None``: there is no user), ``etag`` the tag of the copy that the caller holds.
    ``headers`` are further ones to send, such as ``traceparent``; none is secret.
    """

    deadline: Deadline
    request_id: str
    user_id: str | None = None
    etag: str | None = None
    headers: dict[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document as the source wrote it: the ``body``, not yet validated.

    ``etag`` names this version of it, if the source has such tags, ``status`` is the HTTP status
    that it came with, if any, for log lines.
    """

    body: bytes = field(repr=False)
    etag: str | None = None
    status: int | None = field(default=None, compare=False)


class NotModified:
    """The copy named by ``Query.etag`` is still the current one."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the ids of all instances."""

    instance_ids: tuple[str, ...]
    next: str | None = None


def describe(backend: object) -> str:
    """Return what log lines call a backend; a project's own need not be a subclass."""
    location = getattr(backend, "location", "")
    at = f"at {location}" if location else f"({type(backend).__name__})"
    return f"The Config Service {at}"


class ConfigServiceBackend(ABC):
    """Where configurations come from.

    Each method raises ``InstanceNotFound`` for an id that does not exist, ``AccessDenied`` where
    ``query.user_id`` may not have it, and ``ConfigServiceUnavailable`` when there is no usable
    answer, with a ``reason`` among its details. Any other exception counts as the last, and is
    logged with its traceback.
    Methods are called from several threads at once.
    """

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the backend that the settings describe."""
        return cls()

    @property
    def location(self) -> str:
        """Where it asks, for log lines: a URL or path without credentials."""
        return ""

    @abstractmethod
    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        """Return the configuration of one instance."""

    @abstractmethod
    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        """Return ``{"project_id": …, "instance_id": …}``: the instance a project belongs to."""

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        """Return the page of instance ids that starts at ``cursor`` (``None``: the first).

        A source without a list leaves this out: commands then need the ids by name.
        """
        raise NotImplementedError(f"{type(self).__name__} has no list of instances.")
