"""docs/how-to/feature-flags.md: its site has flags, and its tables are those of the code."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import path
from openfeature import api
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus

from instance_lookup import get_resolver
from tests.support.documents import Site, blocks, table
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "feature-flags.md"
FLAGS: dict[str, Any] = {"theme": "night", "seats": 5, "limits": {"render": [1, 2]}}


@pytest.fixture(autouse=True)
def _no_providers() -> Iterator[None]:
    yield
    api.clear_providers()


@pytest.mark.django_db
def test_site_of_the_page(tmp_path: Path) -> None:
    """The app sets the provider, views ask for flags, and the handler is told of a change."""
    site = Site(tmp_path, [*blocks("README.md"), *blocks(PAGE)])
    instances = json.loads((tmp_path / "instances.json").read_text(encoding="utf-8"))
    instances["instances"][0]["flags"] = FLAGS
    (tmp_path / "instances.json").write_text(json.dumps(instances), encoding="utf-8")
    with site.running():
        call_command("check")
        apps.get_app_config("mysite").ready()  # once more: now the settings are there as well
        flags, urls = (vars(import_module(f"mysite.{name}")) for name in ("flags", "urls"))
        wait_until(lambda: flags["client"].get_provider_status() is ProviderStatus.READY)
        urls["urlpatterns"] += [
            path("flags/", flags["flags"]),
            path("flags-async/", flags["flags_async"]),
        ]
        owner = Client()
        owner.force_login(User.objects.create_user("olga", pk=1))
        headers = {"x-instance-id": "acme"}
        assert owner.get("/flags/", headers=headers).json() == {"beta": True, **FLAGS}
        assert owner.get("/flags-async/", headers=headers).json() == {"theme": "night"}
        flags["known_themes"].update({"acme": "night", "globex": "day"})
        get_resolver().cache.invalidate("acme")
        wait_until(lambda: flags["known_themes"] == {"globex": "day"})
        get_resolver().cache.invalidate_all()
        wait_until(lambda: flags["known_themes"] == {})


def test_tables_name_what_the_sdk_knows() -> None:
    """Each reason and code of the tables is one of the SDK's; tests of the provider reach each."""
    reasons = {Reason(row[0].strip("`")) for row in table(PAGE, "`reason`")}
    assert reasons == {Reason.CACHED, Reason.STATIC, Reason.STALE, Reason.DEFAULT, Reason.ERROR}
    codes = {ErrorCode(row[0].strip("`")) for row in table(PAGE, "`error_code`")}
    assert ErrorCode.PARSE_ERROR not in codes
    assert len(codes) == 6
