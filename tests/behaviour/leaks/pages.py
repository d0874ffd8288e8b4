"""The doors that open on a request: pages, mails, trackers. Each returns all that it shows."""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from django import VERSION
from django.core import mail
from django.core.signals import got_request_exception
from django.test import Client, RequestFactory, override_settings
from django.views.debug import technical_500_response

from instance_lookup.testing import webhook_delivery
from tests.behaviour.leaks.site import HTML, USERS, log, traced, webhook_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.behaviour.leaks.site import Site

ADMIN = "ops@site.example"
FAILING = ("crash", "dead", "api/crash")
AFAILING = ("acrash", "adead")
PROBLEM = "application/problem+json"
PLAIN = "text/plain"


def failing(site: Site, **options: Any) -> str:
    """Visit each page that fails, sync and async; return what they answer."""
    shown = [site.get(path, **options) for path in FAILING]
    return "".join([*shown, *(site.get(path, is_async=True, **options) for path in AFAILING)])


def refused(site: Site, **options: Any) -> str:
    """Ask for what there is an error for, in each view; return what they answer."""
    shown = [site.get("page", each, **options) for each in ("missing", "wrong", "down")]
    shown += [site.get(path, user="sam", **options) for path in ("page", "api", "call")]
    return "".join(shown)


def debug_pages(site: Site) -> str:
    """Return Django's technical 500, as HTML and as text, of plain views and DRF's."""
    with override_settings(DEBUG=True):
        pages = [failing(site, accept=HTML), site.get("crash", accept=PLAIN), refused(site)]
    return "".join(pages)


def debug_page_of_a_lookup(site: Site) -> str:
    """Return the technical 500 of errors of lookups, which no middleware of ours has answered."""
    pages = []
    for accept in (HTML, PLAIN):
        request = RequestFactory().get("/page", headers={"Accept": accept})
        pages += [
            technical_500_response(request, type(error), error, error.__traceback__).content
            for error in site.use()
            if isinstance(error, Exception)
        ]
    return b"".join(pages).decode()


def error_pages(site: Site) -> str:
    """Return what users are sent where DEBUG is off, as HTML and as a program is answered."""
    return failing(site) + refused(site) + refused(site, accept=PROBLEM) + site.get("page")


def mails(site: Site) -> str:
    """Return the mails to admins about failed requests, with HTML and without."""
    handler = "django.utils.log.AdminEmailHandler"
    handlers: dict[str, Any] = {"class": handler, "include_html": True, "level": "ERROR"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"mail": handlers},
        "loggers": {"": {"handlers": ["mail"], "level": "WARNING"}},
    }
    from logging.config import dictConfig

    mail.outbox.clear()
    mailers = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    with (
        override_settings(ADMINS=[ADMIN if VERSION >= (6, 0) else (ADMIN, ADMIN)], MAILERS=mailers),
        _logging_kept(),
    ):
        dictConfig(config)
        failing(site)
        refused(site)
        site.get("caught")
    return "".join(f"{each.message()} {each.body} {vars(each)}" for each in mail.outbox)


@contextmanager
def _logging_kept() -> Iterator[None]:
    import logging

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def lines(site: Site) -> str:
    """Return what any logger says at DEBUG, with local variables."""
    with log() as seen:
        site.use()
        for path in ("page", "call", "caught"):
            site.get(path)
        site.get("acall", is_async=True)
        failing(site)
        refused(site)
    return seen.getvalue()


def rich_tracebacks(site: Site) -> str:
    """Return tracebacks as rich draws them, with local variables, and Python's own with them."""
    from rich.console import Console
    from rich.traceback import Traceback

    shown, errors = StringIO(), []

    def collect(**kwargs: Any) -> None:
        errors.append(sys.exception())

    got_request_exception.connect(collect)
    try:
        for path in ("crash", "dead"):
            site.get(path)
    finally:
        got_request_exception.disconnect(collect)
    errors.append(site.resolve("wrong"))
    console = Console(file=shown, width=400)
    for error in errors:
        assert error is not None
        drawn = Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=1_000,
            locals_max_string=100_000,
            locals_hide_dunder=False,
        )
        console.print(drawn)
        shown.write(traced(error))
    return shown.getvalue()


def sentry(site: Site) -> str:
    """Return all that Sentry is sent, which may send what it can, of all that fails and works."""
    import sentry_sdk
    from sentry_sdk.integrations.asyncio import AsyncioIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.httpx import HttpxIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.integrations.redis import RedisIntegration
    from sentry_sdk.integrations.stdlib import StdlibIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    class Post(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(json.dumps(item.payload.json) for item in envelope.items)

    sent: list[str] = []
    with warnings.catch_warnings(action="ignore"):  # newer releases have other names
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=Post,
            send_default_pii=True,
            include_local_variables=True,
            include_source_context=False,
            traces_sample_rate=1.0,
            max_value_length=100_000,
            event_scrubber=None,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                DjangoIntegration(cache_spans=True),
                RedisIntegration(max_data_size=None),
                LoggingIntegration(level=10, event_level=30),
                StdlibIntegration(),
                HttpxIntegration(),
                AsyncioIntegration(),
                ThreadingIntegration(propagate_hub=True),
            ],
        )
    try:
        with patch.dict(sentry_sdk.get_client().options, {"event_scrubber": None}):
            failing(site)
            for path in ("page", "call", "caught"):
                site.get(path)
            with sentry_sdk.start_transaction(name="job"):
                for error in site.use():
                    if isinstance(error, Exception):
                        sentry_sdk.capture_exception(error)
            sentry_sdk.flush()
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
    return "".join(sent)


def browsable_api(site: Site) -> str:
    """Return DRF's pages for people, of what works, what is refused, and forms."""
    shown = [site.get("api"), site.get("api", user="sam"), site.get("api", accept="*/*")]
    return "".join([*shown, *(site.get("api", each) for each in ("missing", "wrong", "down"))])


def templates(site: Site) -> str:
    """Return what a template can show of the public ``instance``."""
    with override_settings(DEBUG=True):
        return site.get("debug")


def admin_pages(site: Site) -> str:
    """Return the pages of the admin."""
    site.use()
    home = "admin/instance_lookup_admin/instance/"
    pages = [site.get(home), site.get(f"{home}?q=acme")]
    return "".join([*pages, *(site.get(f"{home}{each}/change/") for each in ("acme", "wrong"))])


def health(site: Site) -> str:
    """Return the page for load balancers."""
    site.use()
    return site.get("ops/health/") + site.get("ops/health/", is_async=True)


def webhook(site: Site) -> str:
    """Return what senders of good deliveries and bad ones are answered, and what is logged."""
    good = webhook_delivery(webhook_secret(), "instance.updated", instance_id="acme")
    other = webhook_delivery(f"whsec_{'A' * 43}=", "instance.updated", instance_id="acme")
    bodies: list[tuple[Any, Any]] = [
        (good.body, good.headers),
        (good.body, other.headers),
        (good.body, {}),
        (b"{}", good.headers),
        (good.body, {**good.headers, "webhook-signature": f"v1,{webhook_secret()}"}),
        (good.body, {**good.headers, "webhook-timestamp": "1"}),
    ]
    shown, options = [], cast("dict[str, Any]", {"content_type": "application/json"})
    with log() as seen:
        for body, headers in bodies:
            for _ in range(2):
                sent = {**headers, "X-User": "sam"}
                response: Any = Client().post("/ops/webhook/", body, headers=sent, **options)
                shown.append(f"{response.status_code} {response.headers} {response.content!r}")
    return "".join([*shown, seen.getvalue(), site.get("ops/webhook/")])


def toolbar(site: Site) -> str:
    """Return the panel of django-debug-toolbar, and its own panel of settings."""
    from debug_toolbar.panels.settings import SettingsPanel
    from django.http import HttpResponse

    from instance_lookup.contrib.debug_toolbar import InstanceLookupPanel
    from instance_lookup.request.attributes import attach
    from tests.behaviour.leaks.views import page

    class Toolbar:
        request_id = "r"

        def __init__(self) -> None:
            self.stats: dict[str, Any] = {}
            self.store = self

        def save_panel(self, *args: object) -> None:
            pass

    shown = []
    for user, instance in ((USERS["ada"], "acme"), (USERS["sam"], "acme"), (USERS["ada"], "wrong")):
        request: Any = RequestFactory().get("/", headers={"X-Instance-ID": instance})
        request.user = user
        attach(request)

        def look(request: Any) -> HttpResponse:
            try:
                return page(request)
            except Exception as exc:  # noqa: BLE001  # it is the page that is looked at
                return HttpResponse(str(exc))

        for kind in (InstanceLookupPanel, SettingsPanel):
            panel = kind(Toolbar(), look)
            response = panel.process_request(request)
            panel.generate_stats(request, response)
            shown.append(f"{panel.nav_subtitle} {panel.toolbar.stats} {vars(panel)}")
    return "".join(shown)
