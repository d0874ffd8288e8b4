"""docs/how-to/production.md with real servers, and the commands of all pages on its site."""

from __future__ import annotations

import io
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import CommandError

from instance_lookup import LookupContext, LookupUser, get_resolver, resolve_instance
from tests.outages.sentinel import SentinelServer
from tests.support.documents import (
    PAGES,
    RECIPES,
    SITE,
    STARTS,
    TUTORIAL,
    Site,
    blocks,
    commands,
    config_service,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer
    from tests.support.servers import ScriptedServer

pytestmark = pytest.mark.extras  # the site uses DRF and django-redis

TIMEOUTS = {'_TIMEOUT": 0.2': '_TIMEOUT": 5.0'}  # another machine, with more to do
WATCHING = "instance_lookup.management.commands.inspect_instance_cache"
SERVES_FOR_EVER = "config-service.md"  # its one console block; tests/sandbox starts that server


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    """A Config Service that answers what the README's file says."""
    with config_service() as server:
        yield server


@pytest.fixture
def production(
    tmp_path: Path,
    service: ScriptedServer,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """The site of the pages, whose hosts are servers of this machine."""
    monkeypatch.setenv("CONFIG_SERVICE_TOKEN", "token")
    monkeypatch.setenv("INSTANCE_CACHE_KEYS", b64encode(b"k" * 32).decode())
    site = Site(tmp_path, SITE)
    hosts = {
        "redis://redis.internal:6379/1": redis_server.url(1),
        "https://config.internal.example.com": service.url,
    }
    site.replace("mysite/settings_production.py", hosts | TIMEOUTS)
    return site


@contextmanager
def emptied(alias: str) -> Iterator[None]:
    """Leave nothing in the server, and no connection to it."""
    try:
        yield
    finally:
        caches[alias].clear()
        caches[alias].client.get_client().connection_pool.disconnect()  # type: ignore[attr-defined]


def ours() -> list[str]:
    """Return what the system checks say about us, deployment included."""
    messages = run_checks(include_deployment_checks=True)
    return [str(m) for m in messages if str(m.id).startswith("instance_lookup")]


def run_command(words: list[str]) -> None:
    """Run ``python manage.py …`` in this process. What fails may do so, but not for its usage."""
    words = words[: words.index("2>")] if "2>" in words else words
    at = words.index("manage.py") + 1
    name, *arguments = words[at:]
    if "--settings" in arguments:
        at = arguments.index("--settings")
        del arguments[at : at + 2]
    code = 0
    try:
        call_command(name, *arguments)
    except CommandError as exc:
        code = exc.returncode
    assert code != 1, words


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in RECIPES | TUTORIAL and page != SERVES_FOR_EVER]
)
def test_commands_do_what_they_say(
    page: str, production: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command line that is shown works on the site of the production settings.

    So do the lines of Python that go into no file.
    """
    monkeypatch.chdir(production.directory)
    monkeypatch.setattr("builtins.input", lambda: "yes")
    monkeypatch.setattr(f"{WATCHING}.sleep", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"acme\n")))
    (production.directory / "tenants.txt").write_text("acme\nglobex\n", encoding="utf-8")
    runnable = [block for block in blocks(page) if block.runs and block.section != STARTS]
    lines = [words for block in runnable for words, _ in commands(block) if "manage.py" in words]
    scripts = [b.text for b in runnable if b.language == "python" and not b.file]
    with production.running("mysite.settings_production"), emptied("default"):
        for words in lines:
            run_command(words)
        for script in scripts:
            exec(script, {})


def test_production_settings(production: Site, service: ScriptedServer) -> None:
    """With the production settings all checks pass, and the second lookup is from the cache."""
    context = LookupContext(LookupUser("1"), instance_id="acme")
    with production.running("mysite.settings_production"), emptied("default"):
        assert ours() == []
        assert resolve_instance(context).instance_id == "acme"
        assert get_resolver().resolve(context).source == "cache"
        assert [request.headers["Authorization"] for request in service.received] == [
            "Bearer token"
        ]


def test_stream_settings(production: Site) -> None:
    """The production settings with a stream pass all checks."""
    with production.running("mysite.settings_stream"):
        assert settings.INSTANCE_LOOKUP["CONFIG_SERVICE_STREAM"] == "/stream"
        assert ours() == []


def test_sentinel_settings(production: Site, redis_server: RedisServer) -> None:
    """Entries go to, and come from, the primary that the sentinel names."""
    context = LookupContext(LookupUser("1"), instance_id="acme")
    with SentinelServer(redis_server.port, "mymaster", down_after=30) as sentinel:
        here = f'"127.0.0.1", {sentinel.port}'
        hosts = {f'"sentinel-{n}.internal", 26379': here for n in (1, 2)}
        production.replace(
            "mysite/settings_sentinel.py", {**hosts, 'timeout": 0.2': 'timeout": 5.0'} | TIMEOUTS
        )
        with production.running("mysite.settings_sentinel"), emptied("default"):
            assert ours() == []
            assert get_resolver().resolve(context).source == "service"
            assert get_resolver().resolve(context).source == "cache"
            client = caches["default"].client.get_client()  # type: ignore[attr-defined]
            assert client.connection_pool.service_name == "mymaster"
            assert get_resolver().invalidate_cache("acme")
