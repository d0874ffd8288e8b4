"""Visits the pages of the admin without a browser: what is there is text and forms."""

from __future__ import annotations

import re
from html import unescape
from time import time
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.test import Client

from instance_lookup import get_resolver
from instance_lookup.operations.index import write_seen
from instance_lookup.operations.stored import Answer, News
from tests.behaviour.commands.support import SECRET

HOME = "/admin/instance_lookup_admin/instance/"
_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser(Client):
    """Django's client, which sends the token of the page that it saw last with each form."""

    def see(self, path: str = HOME, **query: str) -> str:
        """Return the text of a page that has to be there."""
        response = self.get(path, query)
        assert response.status_code == 200
        return text(response)

    def send(self, path: str = f"{HOME}act/", **fields: Any) -> Any:
        """Send a form; follow where it leads."""
        token = _FIELD.search(self.get(f"{HOME}acme/change/").content.decode())
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], **fields}
        return self.post(path, form, follow=True)

    def do(self, action: str, *ids: str, **fields: Any) -> str:
        """Confirm an action for instances, and return the text of the page it leads to."""
        return text(self.send(action=action, id=list(ids), confirmed="yes", **fields))


def text(response: Any) -> str:
    """Return what a page says, in one line."""
    body = re.sub(r"(?s)<head>.*?</head>|<[^>]*>", " ", response.content.decode())
    return re.sub(r"\s+", " ", unescape(body))


def see(
    *ids: str,
    outcome: str = "ok",
    source: str = "service",
    ago: float = 5.0,
    status: int | None = 200,
    seconds: float = 0.1,
) -> None:
    """Have the site have called the Config Service for instances, ``ago`` seconds before now."""
    at = time() - ago
    answer = Answer(at=at, status=status, outcome=outcome, seconds=seconds, request_id="request-1")
    news = News(at=at, answers=[answer], source=source)
    write_seen(get_resolver(), dict.fromkeys(ids, news))


class BrokenCache(LocMemCache):
    """Fails whatever is asked of it, with a message that shows a secret."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for verb in ("get", "get_many", "set", "add", "touch", "delete"):
            setattr(self, verb, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError(SECRET)
