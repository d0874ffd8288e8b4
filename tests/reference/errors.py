"""docs/reference/errors.md: the classes of errors, and real answers of a site to them."""

from __future__ import annotations

import inspect
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.test import Client
from django.test.utils import override_settings

import instance_lookup
from instance_lookup import exceptions
from instance_lookup.exceptions import CacheError, InstanceLookupError, InstanceRequired
from instance_lookup.request.problems import problem_type
from tests.reference.text import attribute_docs, cell, link, markdown, show, table

if TYPE_CHECKING:
    from django.http import HttpResponse

HEADERS = {"X-Instance-ID": "acme", "X-Request-ID": "3f0c0c0a4d5f4d0a8b6f3f7b1f6f2a11"}


def classes() -> list[type[Exception]]:
    """Return the errors that a project can meet, the base first."""
    kinds = InstanceLookupError | InstanceRequired
    return [
        found
        for found in vars(exceptions).values()
        if isinstance(found, type) and issubclass(found, kinds)
    ]


def index() -> None:
    """Show which error has which status."""
    rows = [[link(each.__name__), _status(each)] for each in classes() if each is not BASE]
    show(table(["Error", "Status"], rows))


def attributes() -> None:
    """Show what each error has."""
    rows = [[f"`{name}`", cell(doc)] for name, doc in attribute_docs(BASE).items()]
    properties = inspect.getmembers(BASE, lambda member: isinstance(member, property))
    rows += [[f"`{name}`", cell(inspect.getdoc(member) or "")] for name, member in properties]
    show(table(["Attribute", "Meaning"], rows))


def entries() -> None:
    """Show each class with its status and its names for programs."""
    show("\n\n".join(_entry(each) for each in classes() if each is not BASE))


def json_answers() -> None:
    """Show what programs get: for an anonymous caller, and for a header that comes twice."""
    forbidden = _answer({**HEADERS})
    malformed = _answer({**HEADERS, "X-Instance-ID": "acme,acme"}, ALLOW_ANONYMOUS=True)
    show("\n\n".join(f"{_head(each)}\n\n{_body(each)}" for each in (forbidden, malformed)))


def html_answer() -> None:
    """Show what a browser gets while the Config Service is down."""
    down = _answer(
        {**HEADERS, "Accept": "text/html"},
        ALLOW_ANONYMOUS=True,
        CONFIG_SERVICE_BACKEND="instance_lookup.backends.http.HttpConfigService",
        CONFIG_SERVICE_URL="http://127.0.0.1:9",  # the port "discard", where nothing listens
    )
    page = "".join(f"    {line}\n" for line in down.text.splitlines()).rstrip()
    show(f"A 503 or 429 is a plain page:\n\n{_head(down)}\n\n{page}")


BASE = InstanceLookupError


def _status(error: type[Exception]) -> str:
    status = HTTPStatus(getattr(error, "status_code", 500))
    return f"{status.value} {status.phrase}"


def _entry(error: type[Exception]) -> str:
    name = error.__name__
    home = "instance_lookup" if name in instance_lookup.__all__ else error.__module__
    bases = ", ".join(f"`{_path(base)}`" for base in error.__bases__ if base is not BASE)
    facts = [f"Import: `from {home} import {name}`", f"Status: {_status(error)}"]
    if bases:
        facts.append(f"Derives from: {bases}")
    if issubclass(error, BASE):
        facts.append(f'`type`: `"{error.type.value}"`')
        if not issubclass(error, CacheError):
            facts.append(f"In JSON: `{problem_type(error)}`")
    shown = "\n".join(f"* {fact}" for fact in facts)
    return f"### {name}\n\n{markdown(inspect.getdoc(error) or '')}\n\n{shown}"


def _path(base: type) -> str:
    home = base.__module__.replace("django.http.response", "django.http")
    return base.__name__ if home in {"builtins", exceptions.__name__} else f"{home}.{base.__name__}"


def _answer(headers: dict[str, str], **options: object) -> Any:
    with override_settings(INSTANCE_LOOKUP={"CONFIG_SERVICE_BACKEND": BACKEND, **options}):
        return Client().get("/where/", headers=headers)


BACKEND = "instance_lookup.backends.memory.DictConfigService"


def _head(response: HttpResponse) -> str:
    """Return the status line, and the headers that are ours."""
    names = ("Content-Type", "Retry-After", "Cache-Control", "Vary")
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
    lines += [f"{name}: {response[name]}" for name in names if name in response]
    return "\n".join(f"    {line}" for line in lines)


def _body(response: HttpResponse) -> str:
    return f"```json\n{json.dumps(json.loads(response.content), indent=2)}\n```"
