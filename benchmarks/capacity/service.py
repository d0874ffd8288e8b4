"""The Config Service of the real fleet: it notes when it is called."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from benchmarks import work
from instance_lookup.testing import FakeConfigService

if TYPE_CHECKING:
    from benchmarks.capacity.plan import Plan
    from instance_lookup.testing.servers import Answer, Received


class CountingService(FakeConfigService):
    """Has the instances of a plan, and takes as long for each answer as the plan says."""

    def __init__(self, plan: Plan) -> None:
        super().__init__({f"i-{number}": _CONFIG for number in range(plan.instances)})
        self.called_at: list[float] = []
        """On the monotonic clock."""
        self.delay(plan.service_time)

    def _document(self, kind: str, name: str, request: Received) -> Answer:
        self.called_at.append(monotonic())
        return super()._document(kind, name, request)


_CONFIG = {name: value for name, value in work.CONFIG.items() if name != "instance_id"}
