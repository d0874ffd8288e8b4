"""What tests of outages share: an instance in the cache, and time that passes when told to."""

from __future__ import annotations

import json
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from instance_lookup import InstanceConfig, InstanceMetadata
from tests.support.lookups import SECRET
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer

if TYPE_CHECKING:
    import pytest

    from instance_lookup import InstanceResolver
    from tests.support.servers import Received


class Later(Monotonic):
    """The monotonic clock of what a resolver keeps for a while, stopped, and put forward by hand.

    What was noted before by the real clock is noted just before.
    """

    def __init__(self, resolver: InstanceResolver) -> None:
        self.passed = 0.0
        self._began = monotonic()
        super().__init__(resolver)

    def __call__(self) -> float:
        return self._began + self.passed


def config(instance_id: str = "acme", bucket: str = "first") -> InstanceConfig:
    """Return a configuration of olga's, recognisable by its bucket."""
    owner = InstanceMetadata(owner="olga")
    keys = {"ideogram": SECRET}
    return InstanceConfig(
        instance_id=instance_id,
        r2_bucket=bucket,
        metadata=owner,
        api_keys=keys,
        features={"open": True},
    )


def healthy(request: Received, bucket: str = "second") -> Answer:
    """Answer for any instance, with another bucket than the cache holds."""
    document: dict[str, Any] = {
        "instance_id": request.path.rpartition("/")[2],
        "r2_bucket": bucket,
        "metadata": {"owner": "olga"},
        "features": {"open": True},
    }
    return Answer(200, json.dumps(document).encode())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return all messages that were logged at WARNING or above, by any logger."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
