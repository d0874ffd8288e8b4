"""Configurations from a dict in memory: for tests."""

from __future__ import annotations

from abc import abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from instance_lookup.backends.base import ConfigServiceBackend, Document, NotModified, Page
from instance_lookup.exceptions import InstanceNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.backends.base import Query


class Catalogue(NamedTuple):
    """All that a local source knows."""

    instances: Mapping[str, Any]
    """Configurations by instance id: anything that msgspec writes as a JSON object."""
    projects: Mapping[str, str]
    """Instance ids by project id."""


class LocalConfigService(ConfigServiceBackend):
    """A source that holds every configuration itself; a subclass says where.

    ``ETag`` is a digest of the document. All ids fit on one page.
    """

    @abstractmethod
    def catalogue(self) -> Catalogue:
        """Return what is known now."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        """Return the configuration of one instance."""
        config = self.catalogue().instances.get(instance_id)
        if config is None:
            raise InstanceNotFound(
                f"Instance {instance_id!r} is not known.", instance_id=instance_id
            )
        return _answer(config, query)

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        """Return the instance a project belongs to."""
        instance_id = self.catalogue().projects.get(project_id)
        if instance_id is None:
            raise InstanceNotFound(f"Project {project_id!r} is not known.", project_id=project_id)
        return _answer({"project_id": project_id, "instance_id": instance_id}, query)

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        """Return the ids of all instances."""
        return Page(tuple(self.catalogue().instances))


def _answer(document: Any, query: Query) -> Document | NotModified:
    body = msgspec.json.encode(document)
    etag = f'"{sha256(body).hexdigest()}"'
    return NotModified() if etag == query.etag else Document(body, etag)


class DictConfigService(LocalConfigService):
    """Answer from two dicts, which a test may change at any time.

    ``instances`` maps an id to the fields of its configuration (``instance_id`` is added where it
    is missing), ``projects`` a project id to an instance id. While ``failure`` is set each call
    raises it. ``calls`` records ``(method, id or cursor, user_id)`` of each call.
    """

    def __init__(
        self,
        instances: Mapping[str, Mapping[str, Any]] | None = None,
        projects: Mapping[str, str] | None = None,
    ) -> None:
        self.instances = dict(instances or {})
        self.projects = dict(projects or {})
        self.failure: Exception | None = None
        self.calls: list[tuple[str, str | None, str | None]] = []

    def catalogue(self) -> Catalogue:
        """Return what the dicts hold now."""
        instances = self.instances.items()
        return Catalogue(
            {key: {"instance_id": key, **config} for key, config in instances}, self.projects
        )

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        """Return the configuration of one instance."""
        self._record("get_instance", instance_id, query)
        return super().get_instance(instance_id, query)

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        """Return the instance a project belongs to."""
        self._record("get_project", project_id, query)
        return super().get_project(project_id, query)

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        """Return the ids of all instances."""
        self._record("list_instances", cursor, query)
        return super().list_instances(query, cursor)

    def _record(self, method: str, name: str | None, query: Query) -> None:
        self.calls.append((method, name, query.user_id))
        if self.failure is not None:
            raise self.failure
