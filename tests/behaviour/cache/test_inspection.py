from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from instance_lookup import InstanceConfig, InstanceMetadata
from instance_lookup.inspection import masked


class OwnConfig(InstanceConfig, frozen=True, kw_only=True):
    database_password: str = ""


def test_masked_hides_fields_of_a_projects_own_class() -> None:
    """The value of a project's own field is masked: it may be a secret."""
    shown = masked(OwnConfig(instance_id="acme", database_password="hunter2"))
    assert shown["database_password"] == "********"
    assert shown["instance_id"] == "acme"


class OwnMetadata(InstanceMetadata, frozen=True, kw_only=True):
    support_pin: str = "hunter2"


class OtherMetadata(Struct, frozen=True):
    support_pin: str = "hunter2"


class WithOwnMetadata(InstanceConfig, frozen=True, kw_only=True):
    metadata: OwnMetadata = OwnMetadata(owner="olga")


class WithOtherMetadata(InstanceConfig, frozen=True, kw_only=True):
    metadata: Any = OtherMetadata()


@pytest.mark.parametrize("kind", [WithOwnMetadata, WithOtherMetadata])
def test_masked_hides_fields_that_a_project_adds_deeper(kind: type[InstanceConfig]) -> None:
    """Nor does a class of a project in place of one of ours show what it adds."""
    config = kind(instance_id="acme")
    assert "hunter2" not in f"{masked(config)} {config}"
    assert "'acme'" in f"{masked(config)} {config}"
