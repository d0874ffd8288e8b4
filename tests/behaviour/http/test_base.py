from __future__ import annotations

import pytest

from instance_lookup.backends.base import describe
from instance_lookup.backends.file import FileConfigService
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService


class Vault:
    """A backend that is no subclass of ours."""


@pytest.mark.parametrize(
    ("backend", "shown"),
    [
        (
            HttpConfigService(url="https://config.example.com:8443/api/"),
            "at https://config.example.com:8443/api",
        ),
        (FileConfigService("/etc/site/instances.json"), "at /etc/site/instances.json"),
        (DictConfigService(), "(DictConfigService)"),
        (Vault(), "(Vault)"),
    ],
)
def test_backend_is_described_by_where_it_asks(backend: object, shown: str) -> None:
    """Log lines tell where to look; one that does not say goes by its class."""
    assert describe(backend) == f"The Config Service {shown}"
