from __future__ import annotations

from base64 import b64encode
from traceback import TracebackException
from types import MappingProxyType
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import get_default_exception_reporter_filter

from instance_lookup import InstanceResolver
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.conf import build_settings, get_settings
from instance_lookup.frozen import SecretDict

PROXY = "http://user:pa55w0rd@127.0.0.1:3128"
PLAIN = {"CONFIG_SERVICE_URL": "https://config.example", "CACHE_TTL": 60}


def shown() -> str:
    """Return what debug pages and mails to admins show of the settings."""
    return repr(get_default_exception_reporter_filter().get_safe_settings()["INSTANCE_LOOKUP"])


def test_password_of_a_proxy_is_not_shown() -> None:
    """Django masks by the names of settings, and this one's name says nothing of a secret."""
    mine = {**PLAIN, "CONFIG_SERVICE_PROXY": PROXY}
    with override_settings(INSTANCE_LOOKUP=mine):
        assert "pa55w0rd" not in shown()
        assert "https://config.example" in shown()
    assert mine["CONFIG_SERVICE_PROXY"] is PROXY


@pytest.mark.parametrize(
    "url", ["https://user:pa55w0rd@config.example", "https://config.example?key=pa55w0rd"]
)
def test_refused_url_is_not_shown(url: str) -> None:
    """The mail about a site that does not start with such a URL does not show it."""
    with override_settings(INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": url}):
        assert "pa55w0rd" not in shown()


@pytest.mark.parametrize("stream", ["/stream?key=pa55w0rd", "https://config.example/s?pa55w0rd"])
def test_query_of_the_stream_is_not_shown(stream: str) -> None:
    """The query of CONFIG_SERVICE_STREAM may be secret, and is sent as it is."""
    with override_settings(INSTANCE_LOOKUP={**PLAIN, "CONFIG_SERVICE_STREAM": stream}):
        assert "pa55w0rd" not in shown()
        assert repr(get_settings().config_service_stream) == repr(stream)
    with override_settings(INSTANCE_LOOKUP={**PLAIN, "CONFIG_SERVICE_STREAM": "/stream"}):
        assert "'/stream'" in shown()


def test_hidden_url_is_used_as_it_is() -> None:
    """What is hidden from people is what a resolver and a copy of the settings work with."""
    with override_settings(INSTANCE_LOOKUP={**PLAIN, "CONFIG_SERVICE_PROXY": PROXY}):
        assert repr(get_settings().config_service_proxy) == repr(PROXY)
        again = settings.INSTANCE_LOOKUP
        with override_settings(INSTANCE_LOOKUP={**again, "CACHE_TTL": 5}):
            assert repr(get_settings().config_service_proxy) == repr(PROXY)
        given: Any = again["CONFIG_SERVICE_PROXY"]
        resolver = InstanceResolver(config_service_proxy=given)
        assert repr(resolver.settings.config_service_proxy) == repr(PROXY)
        backend = resolver.backend
        assert isinstance(backend, HttpConfigService)
        assert backend.make_session().proxies == {"all": PROXY}
        assert "pa55w0rd" not in f"{vars(backend)} {vars(backend.make_session())}"


@pytest.mark.parametrize("mine", [PLAIN, {}, MappingProxyType(PLAIN), None])
def test_other_settings_stay_as_they_are(mine: Any) -> None:
    """Settings without a secret URL, and those that a check complains about, stay the same."""
    with override_settings(INSTANCE_LOOKUP=mine):
        assert settings.INSTANCE_LOOKUP is mine


def test_keys_hide_themselves_wherever_they_are_handed_on() -> None:
    """Keys are in local variables of many functions, and are what they are to all who use them."""
    fernet, webhook = b64encode(b"k" * 32).decode(), f"whsec_{b64encode(b'w' * 32).decode()}"
    kept = build_settings({"encryption_keys": [fernet], "webhook_secrets": [webhook]})
    assert (kept.encryption_keys, kept.webhook_secrets) == ((fernet,), (webhook,))
    shown = f"{kept.encryption_keys} {kept.webhook_secrets}"
    assert fernet not in shown
    assert webhook not in shown


def test_token_hides_itself_in_the_header_that_is_sent() -> None:
    """When a worker is ended during a call, urllib3's frames show the headers of the session."""
    backend = HttpConfigService(url="https://config.example", token="t0ken")
    headers = backend.make_session().headers
    assert headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in f"{headers} {[*headers.items()]} {vars(backend)}"


@pytest.mark.parametrize(
    "wrong", [{"url": "http://user:pa55w0rd@config.example"}, {"token": "pa55w0rd\n"}]
)
def test_refused_backend_shows_nothing(wrong: dict[str, str]) -> None:
    """Each request of a site with such settings raises this, with the frame of the constructor."""
    right = {"url": "https://config.example", "token": "t0ken", "proxy": PROXY}
    options = SecretDict(right | wrong)
    with pytest.raises(ImproperlyConfigured) as caught:
        HttpConfigService(**options)
    del right, wrong
    error = TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(error.format())
    assert "HttpConfigService" in shown
    assert "pa55w0rd" not in shown
    assert "t0ken" not in shown
