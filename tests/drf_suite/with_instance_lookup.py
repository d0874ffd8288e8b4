"""A plugin of pytest: the site of DRF's tests has our app, middleware and context processor."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

MIDDLEWARE = "instance_lookup.middleware.InstanceConfigMiddleware"


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Add ours to what the tests' conftest is about to configure."""
    configure = settings.configure

    def configure_with_ours(**options: Any) -> None:
        options["INSTALLED_APPS"] = (*options["INSTALLED_APPS"], "instance_lookup")
        options["MIDDLEWARE"] = (*options["MIDDLEWARE"], MIDDLEWARE)
        for engine in options["TEMPLATES"]:
            processors = engine["OPTIONS"].setdefault("context_processors", [])
            processors.append("instance_lookup.context_processors.instance")
        configure(**options)

    vars(settings)["configure"] = configure_with_ours


def pytest_sessionstart() -> None:
    """Make sure that it was configured so."""
    assert "instance_lookup" in settings.INSTALLED_APPS
    assert MIDDLEWARE in settings.MIDDLEWARE
