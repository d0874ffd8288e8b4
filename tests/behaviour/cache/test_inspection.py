from __future__ import annotations

import pytest

from instance_lookup import InstanceConfig
from instance_lookup.inspection import masked, masked_url


class OwnConfig(InstanceConfig, frozen=True, kw_only=True):
    database_password: str = ""


def test_masked_hides_fields_of_a_projects_own_class() -> None:
    """The value of a project's own field is masked: it may be a secret."""
    shown = masked(OwnConfig(instance_id="acme", database_password="hunter2"))
    assert shown["database_password"] == "********"
    assert shown["instance_id"] == "acme"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://images.example:8443/run", "https://images.example:8443/run"),
        ("https://user:pw@images.example/", "https://********@images.example/"),
        ("https://user:p?w#@images.example/", "https://********@images.example/"),
        ("user:pw@images.example", "********@images.example"),
        ("https://images.example/?key=pw", "https://images.example/?********"),
        ("https://images.example/#pw", "https://images.example/?********"),
        ("https://[broken/?pw\npw", "https://[broken/?********"),
        ("", ""),
    ],
)
def test_masked_url_hides_credentials(url: str, shown: str) -> None:
    """User, password and query of a worker's URL are never shown, however the URL is written."""
    assert masked_url(url) == shown
