"""Any bytes as an id, through DRF: a documented answer, and never another tenant's instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.drf_urls import DOORS
from tests.properties.profile import tried
from tests.properties.rules import assert_safe, assert_served
from tests.properties.site import OLGA, OWNED, SAM, Ask, answer, asks, named_once, site_settings
from tests.support.doors import CALLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

doors = st.sampled_from(DOORS)


@pytest.fixture(params=[False, True], ids=["open", "concealed"])
def _site(request: pytest.FixtureRequest) -> Iterator[None]:
    site = site_settings(CONCEAL_DENIED=request.param)
    with override_settings(**site | {"ROOT_URLCONF": "tests.properties.drf_urls"}):
        yield


@pytest.mark.usefixtures("_site")
@pytest.mark.parametrize("is_async", CALLERS)
@tried(40)
@given(ask=asks, door=doors)
@example(ask=Ask(SAM, header=b"acme"), door="permission")
@example(ask=Ask(OLGA, header=b"acme", path_instance=b"globex"), door="touch")
@example(ask=Ask(OLGA, given=["acme"]), door="touch")
def test_any_request(ask: Ask, door: str, is_async: bool) -> None:
    """Whatever a request names, its answer is a documented one and of the user's own tenant."""
    assert_safe(ask, answer(ask, door, is_async=is_async))


@pytest.mark.usefixtures("_site")
@pytest.mark.parametrize("is_async", CALLERS)
@tried(40)
@given(
    user=st.sampled_from(list(OWNED)),
    named=st.sampled_from(["acme", "globex", "ownerless"]),
    place=named_once,
    door=doors,
)
def test_instance_named_once(user: Any, named: str, place: str, door: str, is_async: bool) -> None:
    """Whatever was asked before, an owner gets an instance that is named properly."""
    id_there: Any = named if place == "given" else named.encode()
    ask = Ask(user, **{place: id_there})
    assert_served(ask, named, lambda ask: answer(ask, door, is_async=is_async))
