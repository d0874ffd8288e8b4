"""The checks of the webhook."""

from __future__ import annotations

from base64 import b64encode
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.test import override_settings
from django.urls import include, path
from django.views.decorators.cache import never_cache

from instance_lookup.endpoints.checks import check_webhook
from instance_lookup.endpoints.webhook import webhook
from tests.support.webhook import SECRET, site

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = b64encode(b"23 bytes are too short.").decode()


class Urls:
    """A URLconf."""

    def __init__(self, *patterns: Any) -> None:
        self.urlpatterns = list(patterns)


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with site():
        yield


def ids() -> list[str]:
    return [str(each.id).removeprefix("instance_lookup.") for each in check_webhook()]


def test_all_is_well() -> None:
    """A good secret, and a URL that leads to the webhook."""
    assert ids() == []


def test_short_secret() -> None:
    """A secret that can be guessed is named by its place, and not shown."""
    with site(WEBHOOK_SECRETS=[SECRET, f"whsec_{SHORT}", b64encode(b"x" * 24).decode()]):
        [warning] = check_webhook()
        assert warning.id == "instance_lookup.W013"
        assert "['WEBHOOK_SECRETS'][1] holds 23 bytes" in warning.msg
        assert SHORT not in str(warning)


def test_hint_makes_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """What the hint says to type prints a secret that is long enough."""
    with site(WEBHOOK_SECRETS=[SHORT]):
        [warning] = check_webhook()
    code = str(warning.hint).removeprefix('python -c "').removesuffix('"')
    exec(code, {})
    with site(WEBHOOK_SECRETS=[capsys.readouterr().out.strip()]):
        assert ids() == []


def test_command_shows_it() -> None:
    """``manage.py check`` says it, without ``--deploy``."""
    with site(WEBHOOK_SECRETS=[SHORT]):
        call_command("check", stderr=(shown := StringIO()))
    assert "instance_lookup.W013" in shown.getvalue()


def test_wrong_settings() -> None:
    """Settings that are wrong are another check's."""
    with site(WEBHOOK_SECRETS=["no Base64"]):
        assert ids() == []


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (Urls(), ["W014"]),
        (Urls(path("x/", include("tests.support.urls"))), ["W014"]),
        (Urls(path("a/", include([path("b/", include("instance_lookup.urls"))]))), []),
        (Urls(path("hook", webhook)), []),
        (Urls(path("hook", never_cache(webhook))), []),
    ],
)
def test_url(urls: Urls, expected: list[str]) -> None:
    """Where secrets are set, some URL leads to the webhook, under whatever name."""
    with override_settings(ROOT_URLCONF=urls):
        assert ids() == expected
        with site(WEBHOOK_SECRETS=()), override_settings(ROOT_URLCONF=urls):
            assert ids() == []


def test_no_urls_at_all() -> None:
    """A process that has no URLs, such as a worker, lacks none."""
    with override_settings():
        del django_settings.ROOT_URLCONF
        assert ids() == []
