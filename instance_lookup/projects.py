"""What a project leads to: its instance, and whether that is the one that was named."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import structs

from instance_lookup.exceptions import AccessDenied, InstanceNotFound, InvalidContext

if TYPE_CHECKING:
    from instance_lookup.context import LookupContext
    from instance_lookup.deadline import Deadline
    from instance_lookup.fetcher import Found
    from instance_lookup.kinds import ProjectMapping
    from instance_lookup.loader import Loader
    from instance_lookup.steps import Steps
    from instance_lookup.types import InstanceConfig


class Projects:
    """Loads the configurations that projects lead to. Nothing of it is authorized yet."""

    def __init__(
        self,
        load_project: Loader[ProjectMapping],
        load_config: Loader[InstanceConfig],
    ) -> None:
        self._load_project = load_project
        self._load_config = load_config

    def load(
        self, project_id: str, context: LookupContext, deadline: Deadline
    ) -> Steps[Found[InstanceConfig]]:
        """Return the configuration of a project's instance. Raise as :meth:`Loader.load`."""
        mapped = yield from self._load_project.load(project_id, context, deadline)
        instance_id = mapped.document.instance_id
        found = yield from self._load_config.load(instance_id, context, deadline)
        return structs.replace(found, ahead=mapped.ahead + found.ahead) if mapped.ahead else found

    def agree(
        self, project_id: str, instance_id: str, context: LookupContext, deadline: Deadline
    ) -> Steps[Found[ProjectMapping]]:
        """Return the mapping of a project. Raise ``InvalidContext`` unless it is to the instance.

        The same whether it is another's or nobody's: that is for its own members to know.
        """
        with suppress(InstanceNotFound, AccessDenied):
            mapped = yield from self._load_project.load(project_id, context, deadline)
            if mapped.document.instance_id == instance_id:
                return mapped
        raise InvalidContext(
            f"Project {project_id!r} does not belong to instance {instance_id!r}.",
            instance_id=instance_id,
        )
