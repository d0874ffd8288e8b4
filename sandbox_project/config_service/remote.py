"""Work the admin over HTTP as a person with a browser does.

For the demo and the tests: whatever they change, the admin can change.
"""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any, Final, Self

import requests
from django.contrib.admin.utils import quote

TIMEOUT: Final = 10.0


class FormRefused(Exception):
    """The admin shows the form again; ``args[0]`` are its complaints."""


class RemoteAdmin:
    """A logged-in session with the admin of a Config Service."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = f"{url}/admin/"
        self.session = requests.Session()
        # A .netrc or a proxy of the machine has no business on loopback.
        self.session.trust_env = False
        self._submit("login/", {"username": username, "password": password, "next": "/admin/"})

    def add_instance(self, instance_id: str, **fields: Any) -> None:
        """Create an instance."""
        self._submit("config_service/instance/add/", {"instance_id": instance_id, **fields})

    def change_instance(self, instance_id: str, **fields: Any) -> None:
        """Change some fields of an instance."""
        self._submit(f"config_service/instance/{quote(instance_id)}/change/", fields)

    def delete_instance(self, instance_id: str) -> None:
        """Delete an instance and its projects."""
        self._submit(f"config_service/instance/{quote(instance_id)}/delete/", {})

    def add_project(self, project_id: str, instance_id: str) -> None:
        """Create a project."""
        fields = {"project_id": project_id, "instance": instance_id}
        self._submit("config_service/project/add/", fields)

    def switch(self, **fields: Any) -> None:
        """Set all switches: those that are not named go off."""
        off = {"down": False, "slow": 0, "errors": 0, "errors_status": 500, "retry_after": None}
        self._submit("config_service/switches/", {**off, **fields})

    def get(self, path: str = "") -> str:
        """Return the HTML of an admin page."""
        return self._get(path).text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.session.close()

    def _get(self, path: str) -> requests.Response:
        response = self.session.get(self.url + path, timeout=TIMEOUT)
        response.raise_for_status()
        return response

    def _submit(self, path: str, fields: dict[str, Any]) -> None:
        page = self._get(path)
        form = Form(page.text).values | {name: as_typed(value) for name, value in fields.items()}
        # To the page's own address: the way to the switches leads over a redirect.
        response = self.session.post(page.url, form, allow_redirects=False, timeout=TIMEOUT)
        response.raise_for_status()
        if response.status_code != 302:
            raise FormRefused(Form(response.text).errors)


def as_typed(value: Any) -> str | None:
    """Return what a person would put into the form field; ``None`` leaves a box unticked."""
    if isinstance(value, bool):
        return "on" if value else None
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value)


class Form(HTMLParser):
    """The values that a browser would send back, and the complaints shown beside them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, str | None] = {}
        self.errors: list[str] = []
        self._textarea = self._select = ""
        self._in_errors = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the field that begins here."""
        found = dict(attrs)
        name = found.get("name") or ""
        if tag == "input" and name:
            self._input(name, found)
        elif tag == "textarea":
            self._textarea, self.values[name] = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in found:
            self.values[self._select] = found.get("value")
        elif "errorlist" in (found.get("class") or ""):
            self._in_errors = True

    def _input(self, name: str, attrs: dict[str, str | None]) -> None:
        kind = attrs.get("type")
        ticked = kind not in {"checkbox", "radio"} or "checked" in attrs
        if ticked and kind != "submit":
            self.values[name] = attrs.get("value") or ""

    def handle_data(self, data: str) -> None:
        """Take the text of a field or of a complaint."""
        if self._textarea:
            self.values[self._textarea] = (self.values[self._textarea] or "") + data
        elif self._in_errors and data.strip():
            self.errors.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        """Leave the field or the list of complaints."""
        if tag == "textarea":
            self._textarea = ""
        elif tag == "ul":
            self._in_errors = False
