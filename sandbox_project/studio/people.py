"""The people of the story, and how they visit the studio. It needs no Django."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import requests

PASSWORD: Final = "sandbox"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who can log in."""

    user_id: str
    """In a database that was seeded when it was empty. The Config Service knows owners by it."""
    name: str
    about: str
    default_instance_id: str = ""
    is_admin: bool = False

    @property
    def token(self) -> str:
        """The token for the API, made up for the sandbox like the password."""
        return f"sandbox-token-of-{self.name}"


ADMIN: Final = Person("1", "admin", "may use every instance", "no-owner", is_admin=True)
OWNER: Final = Person("2", "owner", "owns studio-a, and starts there", "studio-a")
NEIGHBOUR: Final = Person("3", "neighbour", "owns studio-b, and starts there", "studio-b")
STRANGER: Final = Person("4", "stranger", "owns nothing, and starts nowhere")
PEOPLE: Final = (ADMIN, OWNER, NEIGHBOUR, STRANGER)


class Visitor(requests.Session):
    """A person at a studio: logged in on its pages, and with a token for its API."""

    def __init__(self, url: str, person: Person, password: str = PASSWORD) -> None:
        super().__init__()
        self.url = url
        # A .netrc or a proxy of the machine has no business on loopback.
        self.trust_env = False
        self.headers["Authorization"] = f"Token {person.token}"
        self.page("/log-in/")
        self.send_form("/log-in/", username=person.name, password=password)

    def page(self, path: str, **headers: str | None) -> requests.Response:
        """Get a page; ``X_Instance_ID="a"`` sends a header, ``None`` leaves one out."""
        named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.get(self.url + path, headers={"Accept": "text/html", **named}, timeout=30)

    def instance(self, **headers: str | None) -> requests.Response:
        """Ask the API which instance this person is in."""
        return self.page("/api/instance/", Accept="application/json", **headers)

    def job(self, task: str) -> requests.Response:
        """Ask the API to have a job done."""
        return self.post(f"{self.url}/api/jobs/", json={"task": task}, timeout=30)

    def send_form(self, path: str, **fields: str) -> None:
        """Send the form of a page; raise ``RuntimeError`` if it is refused."""
        data = {"csrfmiddlewaretoken": self.cookies["studio_csrftoken"], **fields}
        answer = self.post(self.url + path, data, timeout=30, allow_redirects=False)
        if answer.status_code != 302:
            raise RuntimeError(answer.text)

    def cache(self, action: str, instance_id: str) -> None:
        """Press a button of the cache panel: ``"expire"`` or ``"invalidate"``."""
        self.send_form("/cache/", action=action, instance_id=instance_id)
