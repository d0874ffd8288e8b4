"""Who talks to the studio: programs with a token, people with a browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import requests
from config_service.remote import Form, FormRefused

from studio.people import PASSWORD

if TYPE_CHECKING:
    from studio.people import Person

TIMEOUT: Final = 30.0


class Client:
    """One person's way to the studio, at one address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        # A .netrc or a proxy of the machine has no business on loopback.
        self.session.trust_env = False

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET; ``X_Instance_ID="a"`` sends a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.get(self.url + path, headers=named, timeout=TIMEOUT)


class Program(Client):
    """A client of the API, with its person's token."""

    def __init__(self, url: str, person: Person) -> None:
        super().__init__(url)
        self.session.headers["Authorization"] = f"Token {person.token}"

    def instance(self, **headers: str) -> requests.Response:
        """Ask where one stands."""
        return self.get("/api/instance/", **headers)

    def job(self, task: str) -> requests.Response:
        """Have a job done."""
        body = {"worker": "render", "task": task}
        return self.session.post(f"{self.url}/api/jobs/", json=body, timeout=TIMEOUT)


class Browser(Client):
    """A person who has logged in on the page."""

    def __init__(self, url: str, person: Person, password: str = PASSWORD) -> None:
        super().__init__(url)
        self.session.headers["Accept"] = "text/html,*/*;q=0.8"
        self.submit("/log-in/", "/log-in/", username=person.name, password=password)

    def submit(self, page_path: str, path: str, **fields: str) -> None:
        """Send a page's form to ``path``. Raise ``FormRefused`` if that leads to no other page."""
        page = self.get(page_path)
        page.raise_for_status()
        response = self.session.post(
            self.url + path, Form(page.text).values | fields, timeout=TIMEOUT, allow_redirects=False
        )
        response.raise_for_status()
        if response.status_code != 302:
            raise FormRefused(Form(response.text).errors)

    def cache(self, action: str, instance_id: str) -> None:
        """Press a button of the cache panel."""
        self.submit("/cache/", "/cache/", action=action, instance_id=instance_id)


class Player:
    """One person of the story: a program of theirs, and themselves at a screen."""

    def __init__(self, url: str, person: Person) -> None:
        self.api = Program(url, person)
        self.screen = Browser(url, person)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.api.session.close()
        self.screen.session.close()


@dataclass(frozen=True, slots=True)
class Cast:
    """Those who take part in the story."""

    owner: Player
    neighbour: Player
    stranger: Player
    admin: Player
