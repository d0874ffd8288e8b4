"""The soak's Config Service: ``python -m benchmarks.soak_service DIRECTORY PORT``, until EOF.

What a tenant's version is stands in a file, so that it can be changed while this process is hung
or gone; each answer adds a byte to ``DIRECTORY/calls``.
"""

from __future__ import annotations

import sys
from collections import UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instance_lookup.testing import FakeConfigService
from instance_lookup.testing.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.testing.servers import Received

POISONED = "poisoned"
"""The one instance for which the service answers 500."""


class Service(FakeConfigService):
    def _document(self, kind: str, name: str, request: Received) -> Answer:
        if name == POISONED:
            return Answer(500)
        return super()._document(kind, name, request)


class Tenants(UserDict[str, "Mapping[str, Any]"]):
    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def __contains__(self, instance_id: object) -> bool:
        with (self._directory / "calls").open("ab") as calls:
            calls.write(b".")
        return self._version(instance_id).exists()

    def __getitem__(self, instance_id: str) -> Mapping[str, Any]:
        return {
            "api_keys": {"render": f"key-of-{instance_id}"},
            "r2_bucket": self._version(instance_id).read_text(),
            "metadata": {"owner": f"owner-of-{instance_id}"},
        }

    def get(self, instance_id: str, default: Any = None) -> Any:
        return self[instance_id] if instance_id in self else default  # noqa: SIM401  # this is it

    def _version(self, instance_id: object) -> Path:
        return self._directory / f"{instance_id}.version"


def main() -> None:
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    service = Service(port=port)
    # Before it answers: for a moment it would not know any tenant.
    service.instances = Tenants(directory)
    # After the answer is made: while it is under way the tenant may be changed and invalidated.
    service.delay(0.05)
    with service:
        sys.stdout.write(f"{service.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
