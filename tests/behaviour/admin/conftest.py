from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User

from instance_lookup import events, get_resolver
from instance_lookup.operations.reporter import reporter
from tests.behaviour.admin.support import Browser
from tests.behaviour.commands.support import TOKEN, ConfigService
from tests.support.servers import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from instance_lookup.resolver import InstanceResolver


@pytest.fixture
def service(settings: Settings) -> Iterator[ConfigService]:
    """A Config Service with three instances, on two pages, that the site of the admin asks."""
    with ScriptedServer() as server:
        service = ConfigService(server)
        server.answers = service.answer
        settings.ROOT_URLCONF = "tests.support.urls_admin"
        settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": server.url, "CONFIG_SERVICE_TOKEN": TOKEN}
        yield service


@pytest.fixture
def reporting(service: ConfigService, settings: Settings) -> InstanceResolver:
    """The resolver of a site whose processes report; its reports are written by the test."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "REPORT_STATUS": True}
    events.unwatch(reporter.watch)
    return get_resolver()


@pytest.fixture
def operator(db: None, service: ConfigService) -> Browser:
    """One who may see and change instances, and nothing else in the admin."""
    return _log_in("operator", "view_instance", "change_instance")


@pytest.fixture
def viewer(db: None, service: ConfigService) -> Browser:
    """One who may only see them."""
    return _log_in("viewer", "view_instance")


@pytest.fixture
def stranger(db: None, service: ConfigService) -> Browser:
    """A member of staff who may neither see nor change them."""
    return _log_in("stranger")


def _log_in(name: str, *permissions: str) -> Browser:
    user = User.objects.create_user(name, is_staff=True)
    for each in permissions:
        user.user_permissions.add(
            Permission.objects.get(codename=each, content_type__app_label="instance_lookup_admin")
        )
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(user)
    return browser
