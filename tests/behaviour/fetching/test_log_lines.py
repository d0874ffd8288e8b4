"""What docs/explanation/resilience.md says is logged, against what is: each in the situation."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from django.test import override_settings

from instance_lookup import InstanceLookupError, InstanceResolver
from tests.outages.outages import Later
from tests.outages.redis_outages import provide_bench, read_only, refused
from tests.outages.service_outages import HTML
from tests.support.documents import PAGES, table
from tests.support.lookups import ACME, Clock, acme, asks, hooked_caches
from tests.support.near import LONG, is_sure, near_caches, near_config, near_resolver, settled
from tests.support.servers import Answer, Received, ScriptedServer, mute, redirect
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.redis_server import RedisServer
    from tests.support.servers import Script

pytestmark = pytest.mark.extras

_SECTION = PAGES["resilience.md"].read_text(encoding="utf-8").partition("## What the log says")[2]
_LINES = [
    line.strip() for line in _SECTION.partition("\n## ")[0].splitlines() if line.startswith("    ")
]
STREAM = ("stream lost", "stream back")
"""Tested where the stream is."""
_ORDER = (
    *("unreachable", "certificate", "timeout", "status", "429", "html", "redirect", "credential"),
    *("client_error", "page", "dropped", "everything", "omitted", "documents again", "works again"),
    *("cache is down", "cache is read-only", "cache works again"),
    *("channel is down", "channel works again"),
    *("publishing fails", "publishing works again"),
    *STREAM,
)
LINES = dict(zip(_ORDER, _LINES, strict=True))
"""Each line of the page, by the situation of the test that brings it about."""
PAGE = Answer(404, b"<h1>404</h1>", {"Content-Type": "text/html"})
OMITTED = Answer(200, json.dumps(acme("first", features={"beta": "yes"})).encode())
GOOD = Answer(200, json.dumps(ACME).encode())
NAMES = ("x", "y", "z", "acme")

ROWS = {
    f"{head}: {cells[0]}": " | ".join(cells[1:])
    for head in ("the service", "the cache")
    for cells in table("resilience.md", head)
}
"""What is said, and quoted, of each situation of the two tables."""


def healthy(request: Received) -> Answer:
    name = request.path.rpartition("/")[2]
    return Answer(200, json.dumps(acme("first", instance_id=name)).encode())


def ask(resolver: InstanceResolver, *names: str) -> None:
    for name in names:
        with suppress(InstanceLookupError):
            resolver.resolve(asks(instance_id=name))


def resolver_of(server: ScriptedServer) -> InstanceResolver:
    return InstanceResolver(config_service_url=server.url, config_service_timeout=2)


def answered(script: Script, server: ScriptedServer, clock: Clock) -> None:
    server.answers = script
    ask(resolver_of(server), "acme")


def refusing(server: ScriptedServer, clock: Clock) -> None:
    server.stop()
    ask(resolver_of(server), "acme")


def back(script: Script, server: ScriptedServer, clock: Clock) -> None:
    resolver = resolver_of(server)
    server.answers = script
    ask(resolver, "acme")
    server.answers = GOOD
    ask(resolver, "acme")


def dropped(server: ScriptedServer, clock: Clock) -> None:
    resolver = resolver_of(server)
    ask(resolver, "acme")
    clock.now += 300
    server.answers = Answer(404)
    ask(resolver, "acme")


def everything(server: ScriptedServer, clock: Clock) -> None:
    resolver = resolver_of(server)
    ask(resolver, *NAMES)
    clock.now += 300
    server.answers = Answer(404)
    ask(resolver, *NAMES)


def row(beginning: str) -> str:
    """Return the one row that begins so."""
    (found,) = (log for situation, log in ROWS.items() if situation.startswith(beginning))
    return found


SERVICE: dict[str, tuple[str, Callable[[ScriptedServer, Clock], None]]] = {
    "unreachable": ("refuses connections, resets", refusing),
    "timeout": ("accepts and never answers, or sends", partial(answered, mute())),
    "status": ("answers 5xx", partial(answered, Answer(500))),
    "429": ("answers 429", partial(answered, Answer(429, headers={"Retry-After": "7"}))),
    "html": ("answers 200 with HTML", partial(answered, HTML)),
    "omitted": ("answers 200, with a feature flag", partial(answered, OMITTED)),
    "redirect": ("answers with a redirect", partial(answered, redirect("/login"))),
    "credential": ("answers 401", partial(answered, Answer(401))),
    "client_error": ("answers another 4xx", partial(answered, Answer(400))),
    "page": ("answers 404 or 410 with something", partial(answered, PAGE)),
    "dropped": ("answers 404 or 410, with JSON", dropped),
    "everything": ("answers 404 or 410 for one", everything),
    "works again": ("works again", partial(back, Answer(500))),
    "documents again": ("works again", partial(back, PAGE)),
}

CACHE = {
    "cache is down": "refuses",
    "cache works again": "works again",
    "channel is down": "does not deliver invalidations",
    "channel works again": "does not deliver invalidations",
}
"""The rows of a cache that goes down and comes back."""
UNPUBLISHED = ("publishing fails", "publishing works again")


def logged(caplog: pytest.LogCaptureFixture, *, real: str, shown: str) -> list[str]:
    """Return what was logged, with the place that is real here replaced by the page's."""
    text = "\n".join(r.getMessage() for r in caplog.records if r.name == "instance_lookup")
    return text.replace(real, shown).splitlines()


def is_quoted(cell: str, line: str) -> bool:
    """Tell whether the column of a table quotes the line; "…" is anything."""
    quotes = re.findall(r"`([^`]+)`", cell)
    return any(
        re.search(".*".join(map(re.escape, quote.strip("… ").split("…"))), line) for quote in quotes
    )


def last_line(situation: str, clock: Clock, caplog: pytest.LogCaptureFixture) -> str:
    """Return what is logged last in a situation of the Config Service."""
    with ScriptedServer(healthy) as server, override_settings(CACHES=hooked_caches()):
        SERVICE[situation][1](server, clock)
        wait_until(lambda: caplog.records)  # a caller is answered at the deadline, before the line
        return logged(caplog, real=server.url, shown="https://config.example.com")[-1]


@pytest.mark.parametrize("situation", SERVICE)
def test_line_of_the_service(
    situation: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The line equals the documented one, in the list and in the table."""
    line = last_line(situation, clock, caplog)
    assert line == LINES[situation]
    assert is_quoted(row(f"the service: {SERVICE[situation][0]}"), line)


@pytest.mark.parametrize(
    ("situation", "middle"),
    [
        ("unreachable", "Meanwhile callers get 503."),
        ("everything", "Meanwhile callers get 503, or 404 where there is no copy."),
    ],
)
def test_line_without_stale_copies(
    situation: str,
    middle: str,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
) -> None:
    """The page says what stands in the middle instead."""
    settings.INSTANCE_LOOKUP = {"USE_STALE_ON_ERROR": False}
    line = last_line(situation, clock, caplog)
    assert line == re.sub(r"Meanwhile callers .+?\.", middle, LINES[situation])
    assert f'"{middle}"' in _SECTION.replace("\n", " ")


def test_line_of_a_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The line for an expired certificate equals the documented one."""
    context, ca = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ca.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    with ScriptedServer(GOOD, tls=context) as server:
        ask(
            InstanceResolver(
                config_service_url=server.url, config_service_ca_bundle=str(tmp_path / "ca.pem")
            ),
            "acme",
        )
        (line,) = logged(caplog, real=server.url, shown="https://config.example.com")
    assert line == LINES["certificate"]
    assert is_quoted(row("the service: has an expired"), line)


def test_lines_of_a_cache_that_is_down(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One line is logged when the cache fails and one when it is back, also for invalidations."""
    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        resolver = near_resolver()
        later = Later(resolver)
        settled(resolver)
        with refused(own_redis_server):
            wait_until(lambda: not is_sure(), LONG)
            resolver.cache.tiers.doubt()
            ask(resolver, "acme")
        later.passed += 5
        ask(resolver, "acme")
        wait_until(is_sure, LONG)
        server = f"127.0.0.1:{own_redis_server.port}"
        wait_until(lambda: len(logged(caplog, real=server, shown="10.0.0.5:6379")) == 4, LONG)
        lines = logged(caplog, real=server, shown="10.0.0.5:6379")
    assert sorted(lines) == sorted(LINES[name] for name in CACHE)
    for name, beginning in CACHE.items():
        assert is_quoted(row(f"the cache: {beginning}"), LINES[name])


def test_line_of_a_cache_that_is_read_only(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The line for a read-only cache equals the documented one, and entries are still served."""
    for bench in provide_bench("django-redis", own_redis_server):
        bench.resolver.resolve(asks())
        with read_only(own_redis_server):
            ask(bench.resolver, "acme", "globex")
            line = logged(caplog, real="globex", shown="acme")[0]
    assert line == LINES["cache is read-only"]
    assert is_quoted(row("the cache: is read-only"), line)


def test_lines_of_changes_that_are_not_published(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One line is logged when publishing fails and one when it works again."""
    own_redis_server.command("ACL", "SETUSER", "mute", "on", ">pw", "~*", "&*", "+@all", "-publish")
    config = near_config("redis", own_redis_server.url().replace("//", "//mute:pw@"))
    with near_caches(instances={**config, "KEY_PREFIX": "mysite"}):
        resolver = near_resolver()
        resolver.invalidate_cache("acme")
        own_redis_server.command("ACL", "SETUSER", "mute", "+publish")
        resolver.invalidate_cache("acme")
    lines = logged(caplog, real=f"127.0.0.1:{own_redis_server.port}", shown="10.0.0.5:6379")
    assert lines == [LINES[name] for name in UNPUBLISHED]
    for line in lines:
        assert is_quoted(row("the cache: does not take what is published"), line)


def test_lines_are_all_there_are() -> None:
    """Each line of the page has a test in this module, but for those of the stream."""
    own = {"certificate", "cache is read-only", *UNPUBLISHED, *STREAM}
    assert LINES.keys() == SERVICE.keys() | CACHE.keys() | own
    assert len(set(_LINES)) == len(_LINES)
