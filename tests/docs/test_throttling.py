"""docs/how-to/throttling.md: its site throttles, and what it says of limits is so."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from instance_lookup import RateLimit
from instance_lookup.cache.keys import throttle_key
from instance_lookup.throttling.limits import policy_of
from tests.support.documents import ROOT, SITE, Site, blocks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.extras, pytest.mark.django_db]

PAGE = (ROOT / "docs" / "how-to" / "throttling.md").read_text(encoding="utf-8")


def test_page_about_throttling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its views are throttled by the file of the site, and its test passes."""
    site = Site(tmp_path, [*SITE, *blocks("throttling.md")])
    site.replace("instances.json", {'"rpm": 60': '"rpm": 60, "daily": 4'})
    with site.running():
        # DRF reads the setting once, when it is first imported: in a test before this one.
        throttles: Any = api_settings.DEFAULT_THROTTLE_CLASSES
        monkeypatch.setattr(APIView, "throttle_classes", throttles)
        call_command("check")
        tests = unittest.TestLoader().loadTestsFromName("mysite.test_throttling")
        result = tests.run(unittest.TestResult())
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])
        cache.clear()
        client = Client(headers={"x-instance-id": "acme"})
        client.force_login(User.objects.create_superuser("olga", pk=1))
        called: list[Any] = [client.get(f"/{name}/") for name in ("preview", "publish", "gallery")]
        called += [client.post(f"/{name}/") for name in ("render", "upload", "render")]
        assert [each.status_code for each in called] == [200] * 4 + [429] * 2
        assert ["daily" in each.headers["RateLimit"] for each in called] == [True] * 6


def test_examples_are_what_the_code_says() -> None:
    limit = RateLimit(rpm=60, rpm_burst=90, daily=5000)
    assert f"RateLimit-Policy: {policy_of('render', limit)}\n" in PAGE
    assert f":{throttle_key('render', 'acme')}\n" in PAGE
