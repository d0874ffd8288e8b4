"""The studio's pages, over HTTP, for each of its people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import requests
from studio.people import OWNER, Visitor

from tests.sandbox.studio import KEY, SECRETS, add_instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from config_service.process import ServerProcess, ServiceAdmin


# --- pages -------------------------------------------------------------------------------------


def test_page_of_the_owner_says_who_which_why_and_what(people: dict[str, Visitor]) -> None:
    """The page shows the user, the instance, why it was chosen, its source, age and limits."""
    page = people["owner"].page("/")

    assert page.status_code == 200
    for words in (
        "<strong>owner</strong>",
        "since you own this instance",
        "<h1>Studio A</h1>",
        "Your profile names it as your default.",
        "UserDefaultIdentifier",
        "Goes stale in",
        "upscale",
        "http://127.0.0.1:8002/jobs",
        "studio-a-assets",
    ):
        assert words in page.text


def test_page_says_where_the_configuration_came_from(people: dict[str, Visitor], mine: str) -> None:
    """The page says that the configuration is from the service, then from the cache."""
    first, second = (people["owner"].page(f"/instances/{mine}/").text for _ in range(2))

    assert "The Config Service was asked just now." in first
    assert "From the cache; the Config Service was not asked." in second


def test_page_says_in_utc_when_the_service_was_asked(people: dict[str, Visitor], mine: str) -> None:
    """The page shows in UTC when the service was asked."""
    asked = people["owner"].instance(X_Instance_ID=mine).json()["cached_at"]
    said = f"{datetime.fromtimestamp(asked, UTC):%H:%M:%S} UTC"

    assert said in people["owner"].page(f"/instances/{mine}/").text


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("/instances/studio-a/", {}, "The address of this page names it."),
        ("/projects/film-42/", {}, "The project belongs to it."),
        ("/", {"X_Project_ID": "film-42"}, "The project belongs to it."),
        ("/", {"X_Instance_ID": "studio-a"}, "The request header X-Instance-ID names it."),
    ],
)
def test_page_names_what_decided(
    people: dict[str, Visitor], path: str, headers: dict[str, str], reason: str
) -> None:
    """The page names the identifier that chose the instance."""
    page = people["owner"].page(path, **headers).text

    assert "<h1>Studio A</h1>" in page
    assert reason in page


def test_page_for_an_admin_says_why_he_may(people: dict[str, Visitor], mine: str) -> None:
    """An admin sees that the instance is another user's."""
    page = people["admin"].page(f"/instances/{mine}/").text

    assert "since you are an admin; the owner is user id 2" in page


@pytest.mark.parametrize(
    ("person", "path", "status", "title"),
    [
        ("stranger", "/instances/studio-a/", 403, "Not yours"),
        ("stranger", "/projects/film-42/", 403, "Not yours"),
        ("neighbour", "/instances/studio-a/", 403, "Not yours"),
        ("owner", "/instances/nowhere/", 404, "Does not exist"),
        ("owner", "/instances/not an id/", 400, "Which instance?"),
        ("owner", "/instances/a/b/", 400, "Which instance?"),
        ("stranger", "/", 400, "Which instance?"),
        ("owner", "/no/such/page/", 404, "Not Found"),
        ("owner", "/cache/", 403, "Forbidden"),
    ],
)
def test_page_that_fails_says_so_in_words(
    people: dict[str, Visitor], person: str, path: str, status: int, title: str
) -> None:
    """A refused user gets a page of the site, with links to go on."""
    page = people[person].page(path)

    assert page.status_code == status
    assert f"<h1>{title}</h1>" in page.text
    assert "Go somewhere else" in page.text


def test_page_that_names_two_instances_is_refused(people: dict[str, Visitor]) -> None:
    """Address and header that disagree are a mistake, not a choice."""
    page = people["owner"].page("/instances/studio-a/", X_Instance_ID="studio-b")

    assert page.status_code == 400
    assert "names two instances" in page.text


def test_page_during_an_outage_without_a_copy(
    people: dict[str, Visitor], switch: Callable[..., None], mine: str
) -> None:
    """The 503 keeps its Retry-After under the site's own page."""
    switch(down=True)
    page = people["owner"].page(f"/instances/{mine}/")

    assert page.status_code == 503
    assert "<h1>The Config Service does not answer</h1>" in page.text
    assert int(page.headers["Retry-After"]) > 0
    assert page.headers["Cache-Control"] == "no-store"


def test_page_during_an_outage_with_a_copy(
    people: dict[str, Visitor], switch: Callable[..., None], mine: str
) -> None:
    """A stale copy is shown as stale."""
    people["owner"].page(f"/instances/{mine}/")
    people["admin"].cache("expire", mine)
    switch(down=True)
    page = people["owner"].page(f"/instances/{mine}/")

    assert page.status_code == 200
    assert "A copy past its time." in page.text
    assert "stale_cache" in page.text


def test_pages_never_show_a_key(people: dict[str, Visitor], mine: str) -> None:
    """Pages and the API show the names of API keys, never a key."""
    for path in ("/", f"/instances/{mine}/", "/cache/"):
        page = people["admin"].page(path).text
        assert not [secret for secret in SECRETS if secret in page]
    answer = people["owner"].instance(X_Instance_ID=mine)
    assert answer.json()["key_names"] == ["render"]
    assert KEY not in answer.text


def test_what_is_secret_of_a_worker_is_not_shown(
    people: dict[str, Visitor], service_admin: ServiceAdmin
) -> None:
    """User, password and query of a worker's URL are shown neither by the page nor by the API."""
    url = "https://user:a-secret@worker.example/jobs?sig=a-secret"
    name = add_instance(service_admin, worker_urls={"render": url})
    for path in (f"/instances/{name}/", f"/api/instances/{name}/"):
        answer = people["owner"].page(path)
        assert "@worker.example/jobs" in answer.text
        assert "a-secret" not in answer.text


def test_page_is_not_kept_by_the_browser(people: dict[str, Visitor]) -> None:
    """A page is not stored by browsers or proxies."""
    headers = people["owner"].page("/").headers

    assert "no-store" in headers["Cache-Control"]
    assert {"x-instance-id", "x-project-id", "cookie"} <= {
        name.strip().lower() for name in headers["Vary"].split(",")
    }


@pytest.mark.parametrize(
    ("query", "leads_to"),
    [
        ("kind=instance&id=studio-b", "/instances/studio-b/"),
        ("kind=project&id= film-42 ", "/projects/film-42/"),
        ("kind=nonsense&id=a/b", "/instances/a/b/"),
        ("", "/"),
    ],
)
def test_picker_leads_to_the_page(people: dict[str, Visitor], query: str, leads_to: str) -> None:
    """The form of the picker works without a script."""
    browser = people["owner"]
    answer = browser.get(f"{browser.url}/pick/?{query}", allow_redirects=False, timeout=10)

    assert (answer.status_code, answer.headers["Location"]) == (302, leads_to)


def test_page_sends_a_job(people: dict[str, Visitor], mine: str) -> None:
    """The button routes a job, and the next page says what became of it."""
    browser = people["owner"]
    browser.send_form(f"/instances/{mine}/jobs/", worker="render", task="a tree")

    assert "render answers: a tree: done (key of tests)" in browser.page("/").text


def test_page_says_why_a_job_was_not_done(people: dict[str, Visitor], mine: str) -> None:
    """A refused job is shown as a message."""
    browser = people["owner"]
    browser.send_form(f"/instances/{mine}/jobs/", worker="paint", task="x")

    assert "has no worker &#x27;paint&#x27;; it has: render." in browser.page("/").text


@pytest.mark.parametrize("server", ["studio", "config_service"])
def test_icon_is_there(server: str, request: pytest.FixtureRequest) -> None:
    """The icon that browsers ask for exists."""
    url = request.getfixturevalue(server).url
    answer = requests.get(f"{url}/favicon.ico", timeout=10)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize("path", ["/static/studio/studio.css", "/static/admin/css/base.css"])
def test_stylesheets_are_served(studio: ServerProcess, path: str) -> None:
    """Stylesheets are served without a web server in front, and without DEBUG."""
    answer = requests.get(studio.url + path, timeout=10)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")


# --- log-in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/instances/studio-a/", "/cache/", "/pick/"])
def test_page_for_nobody_leads_to_the_log_in(studio: ServerProcess, path: str) -> None:
    """A visitor without a log-in is told nothing."""
    answer = requests.get(studio.url + path, timeout=10, allow_redirects=False)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/log-in/?next=")


def test_log_in_with_a_wrong_password_is_refused(studio: ServerProcess) -> None:
    """The form comes again, and says why."""
    with pytest.raises(RuntimeError, match="correct username and password"):
        Visitor(studio.url, OWNER, "wrong")


def test_naive_lookup_is_off_unless_asked_for(people: dict[str, Visitor]) -> None:
    """The hand-written lookup is off unless it is asked for, as the demo does."""
    assert people["stranger"].page("/naive/studio-a/").status_code == 404
    assert "/naive/" not in people["stranger"].page("/instances/studio-a/").text


# --- cache panel -------------------------------------------------------------------------------


def test_panel_shows_the_state_of_an_entry(people: dict[str, Visitor], mine: str) -> None:
    """Absent, fresh, stale: as a lookup would see it."""
    admin, states = people["admin"], []
    for act in (
        lambda: None,
        lambda: admin.page(f"/instances/{mine}/"),
        lambda: admin.cache("expire", mine),
    ):
        act()
        page = admin.page(f"/cache/?id={mine}").text
        row = page[page.index(f"<code>{mine}</code>") :]
        states.append(row[row.index("badge ") :].split('"')[0])

    assert states == ["badge absent", "badge fresh", "badge stale"]


def test_panel_invalidates(people: dict[str, Visitor], mine: str) -> None:
    """After "invalidate" in the panel the service is asked, and not before."""
    sources = [people["owner"].instance(X_Instance_ID=mine).json()["source"] for _ in range(2)]
    people["admin"].cache("invalidate", mine)
    sources.append(people["owner"].instance(X_Instance_ID=mine).json()["source"])

    assert sources == ["service", "cache", "service"]


@pytest.mark.parametrize(
    ("action", "instance_id", "words"),
    [
        ("expire", "not an id", "is not a valid instance id"),
        ("invalidate", "", "is not a valid instance id"),
        ("explode", "studio-a", "Choose “expire” or “invalidate”."),
    ],
)
def test_panel_explains_what_it_cannot_do(
    people: dict[str, Visitor], action: str, instance_id: str, words: str
) -> None:
    """An error in the panel is shown as a message, not as an error page."""
    people["admin"].cache(action, instance_id)

    assert words in people["admin"].page("/cache/").text


def test_panel_shows_a_malformed_id_as_such(people: dict[str, Visitor]) -> None:
    """The panel reports a malformed id as malformed."""
    assert "is not a valid instance id" in people["admin"].page("/cache/?id=not an id").text
