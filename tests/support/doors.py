"""What tests of the doors share: a service, users, and a client for WSGI and ASGI alike."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from instance_lookup import get_resolver
from instance_lookup.backends.memory import DictConfigService
from tests.support.lookups import SECRET

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
"""The ``Accept`` of a browser that opens a page."""
NO_STORE = "no-store"
PROBLEM = "application/problem+json"


class Somebody(User):
    """A user of the site who is in no database, and in no group."""

    class Meta:
        proxy = True
        app_label = "auth"

    groups: Any = None

    def __init__(self, pk: str, **fields: Any) -> None:
        super().__init__(pk=pk, username=pk)
        self.__dict__.update(fields)

    def __repr__(self) -> str:
        """Return the same text in each worker, since pytest makes test names of it."""
        return f"Somebody({self.pk!r})"


OLGA, SAM = Somebody("olga"), Somebody("sam")


class Caller:
    """Asks the test site, over WSGI or ASGI, from a synchronous test and in its transaction."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.client: Any = (AsyncClient if is_async else Client)(raise_request_exception=False)

    def __call__(
        self, path: str, instance: str | None = None, *, method: str = "get", **headers: str
    ) -> Any:
        """Send a request; ``headers`` are spelled ``x_request_id``."""
        if instance is not None:
            headers["x_instance_id"] = instance
        send = getattr(self.client, method)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return (async_to_sync(send) if self.is_async else send)(f"/{path}", headers=sent)

    def login(self, user: Any) -> Caller:
        self.client.force_login(user)
        return self


CALLERS = [pytest.param(False, id="wsgi"), pytest.param(True, id="asgi")]
"""For the parameter ``is_async`` of :class:`Caller`."""


def serve(settings: Any, **options: Any) -> DictConfigService:
    """Have the test site ask a service in memory."""
    service = DictConfigService()
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": service, **options}
    return service


def owned_by(user: Any, **fields: Any) -> dict[str, Any]:
    """Return the configuration of an instance of this user."""
    return {"api_keys": {"ideogram": SECRET}, "metadata": {"owner": str(user.pk)}, **fields}


def lookups() -> int:
    """Return how often the cache was read for a lookup since the settings last changed."""
    stats = get_resolver().get_cache_stats()
    return stats.hits + stats.misses + stats.negative_hits


def vary(response: Any) -> set[str]:
    """Return the names in the header ``Vary``."""
    return {name.strip() for name in response.headers.get("Vary", "").split(",") if name}
