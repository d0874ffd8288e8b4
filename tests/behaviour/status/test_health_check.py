from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.test import AsyncClient
from django.urls import path

from tests.behaviour.status.support import cache_down

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.status.support import Site

pytestmark = pytest.mark.extras
NAME = "instance_lookup.contrib.health_check.InstanceLookup"


def error_of(**options: Any) -> str:
    """Return what the check says, and "" where it passes."""
    from instance_lookup.contrib.health_check import InstanceLookup

    result = asyncio.run(InstanceLookup(**options).get_result())
    return str(result.error or "")


def test_check_healthy(site: Site) -> None:
    """The check passes where nothing is wrong."""
    site.look_up()
    assert error_of() == ""
    assert error_of(fail_if_degraded=True) == ""


def test_check_degraded(site: Site) -> None:
    """While stale copies are served it passes, unless that is to be a failure."""
    site.answer(500)
    site.look_up()
    assert error_of() == ""
    assert error_of(fail_if_degraded=True).startswith("Warning: The Config Service fails (status)")


def test_check_unhealthy(site: Site) -> None:
    """Where nothing can be served it fails."""
    site.answer(500)
    with cache_down():
        site.look_up()
        assert error_of().startswith("Unavailable: The Config Service fails (status)")


async def test_check_by_name(site: Site, settings: Settings) -> None:
    """The view of django-health-check takes the check by its name."""
    from health_check.views import HealthCheckView

    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "health_check"]
    settings.ROOT_URLCONF = (path("health/", HealthCheckView.as_view(checks=[NAME])),)
    response: Any = await AsyncClient().get("/health/?format=json")
    assert (response.status_code, response.json()) == (200, {"InstanceLookup()": "OK"})
