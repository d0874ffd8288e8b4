"""What a project leads to: its instance, and whether that is the one that was named."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from instance_lookup.exceptions import AccessDenied, InstanceNotFound, InvalidContext

if TYPE_CHECKING:
    from instance_lookup.cache.kinds import ProjectMapping
    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.fetcher import Found
    from instance_lookup.fetching.loader import Loader
    from instance_lookup.fetching.refusals import LetsIn
    from instance_lookup.resilience.deadline import Deadline
    from instance_lookup.types import InstanceConfig
    from instance_lookup.users import LookupUser


class Projects:
    """Loads the configurations that projects lead to. The caller authorizes them."""

    def __init__(
        self,
        load_project: Loader[ProjectMapping],
        load_config: Loader[InstanceConfig],
        is_theirs: LetsIn[InstanceConfig],
    ) -> None:
        """Load mappings by ``load_project``, and the configurations by ``load_config``.

        ``is_theirs`` tells whether a user may have a configuration.
        """
        self._load_project = load_project
        self._load_config = load_config
        self._is_theirs = is_theirs

    def load(
        self, project_id: str, context: LookupContext, deadline: Deadline
    ) -> Steps[Found[InstanceConfig]]:
        """Return the configuration of the instance of ``project_id``.

        ``context`` says who asks, ``deadline`` is the end of the lookup. Raises as
        :meth:`Loader.load`.
        """
        mapped = yield from self._load_project.load(
            project_id, context, deadline, self._leads_to_theirs
        )
        instance_id = mapped.document.instance_id
        found = yield from self._load_config.load(instance_id, context, deadline)
        return structs.replace(found, ahead=mapped.ahead + found.ahead) if mapped.ahead else found

    def agree(
        self, project_id: str, instance_id: str, context: LookupContext, deadline: Deadline
    ) -> Steps[Found[ProjectMapping]]:
        """Return the mapping of ``project_id``, which has to belong to ``instance_id``.

        ``context`` says who asks, ``deadline`` is the end of the lookup. Raises ``InvalidContext``
        if the project is of another instance, and ``ConfigServiceUnavailable``. The error is the
        same if the project does not exist or is refused: only its own members may learn which.
        """
        is_of = partial(_is_of, instance_id)
        with suppress(InstanceNotFound, AccessDenied):
            mapped = yield from self._load_project.load(project_id, context, deadline, is_of)
            if mapped.document.instance_id == instance_id:
                self._load_project.settle(context.user, project_id, theirs=True)
                return mapped
        self._load_project.settle(context.user, project_id, theirs=False)
        raise InvalidContext(
            f"Project {project_id!r} does not belong to instance {instance_id!r}.",
            instance_id=instance_id,
        )

    def _leads_to_theirs(self, user: LookupUser, mapping: ProjectMapping) -> Steps[bool]:
        """Tell whether the cache holds the instance of a project, for a user who may have it."""
        config = yield from self._load_config.held(mapping.instance_id, user)
        return config is not None and (yield from self._is_theirs(user, config))


def _is_of(instance_id: str, _user: LookupUser, mapping: ProjectMapping) -> Steps[bool]:
    """Tell whether a project is of this instance."""
    yield from ()
    return mapping.instance_id == instance_id
