"""A check for django-health-check 4, which says what our own health endpoint says.

Name it in the ``checks`` of its view: ``"instance_lookup.contrib.health_check.InstanceLookup"``.
"""

from __future__ import annotations

import dataclasses

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from instance_lookup.operations.condition import State
from instance_lookup.operations.status import get_status


@dataclasses.dataclass
class InstanceLookup(HealthCheck):  # type: ignore[misc]  # it ships no types
    """Check how lookups of this process are answered, from what is known: without a probe."""

    fail_if_degraded: bool = dataclasses.field(default=False, repr=False)
    """Whether it is a failure that stale copies are served, or that the cache is down."""

    async def run(self) -> None:
        """Raise ``ServiceUnavailable``, or ``ServiceWarning``, unless lookups are answered."""
        status = get_status()
        said = " ".join(status.why)
        if status.state is State.UNHEALTHY:
            raise ServiceUnavailable(said)
        if status.state is State.DEGRADED and self.fail_if_degraded:
            raise ServiceWarning(said)
