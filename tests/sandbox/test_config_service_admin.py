"""The reference Config Service: what its admin takes, and the switches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.sandbox.service import ADMIN_PASSWORD, AdminPages, Api, fresh_id
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from config_service.process import ServerProcess, ServiceAdmin


# --- switches ----------------------------------------------------------------------------------


def test_switch_down_is_503_before_anything_else(api: Api, switch: Callable[..., None]) -> None:
    """A service that is down does not look at credentials or paths."""
    switch(down=True, retry_after=7)
    answers = [
        api.ask("/instances/studio-a"),
        api.ask("/instances/studio-a", Authorization=None),
        api.ask("/projects/x"),
        api.ask("/instances", "POST"),
    ]

    assert [(a.status_code, a.headers["Retry-After"]) for a in answers] == [(503, "7")] * 4


def test_switch_down_without_retry_after_names_no_time(
    api: Api, switch: Callable[..., None]
) -> None:
    """Retry-After is sent only if it was filled in."""
    switch(down=True)

    assert "Retry-After" not in api.ask("/instances").headers


def test_switch_off_serves_again(api: Api, switch: Callable[..., None]) -> None:
    """Switches are read on each request, so the service works again at once."""
    switch(down=True)
    assert api.ask("/instances").status_code == 503
    switch()
    assert api.ask("/instances").status_code == 200


def test_switch_slow_delays_every_answer_side_by_side(
    config_service: ServerProcess, switch: Callable[..., None]
) -> None:
    """Slow requests wait side by side, as in a real service."""
    switch(slow=0.4)
    asked = range(32)
    started = monotonic()
    with within(0.4), ThreadPoolExecutor(len(asked)) as pool:  # one after the other: 12.8 s
        answers = list(pool.map(lambda _: Api(config_service.url).ask("/instances"), asked))
    elapsed = monotonic() - started

    assert {answer.status_code for answer in answers} == {200}
    assert elapsed >= 0.4


@pytest.mark.parametrize(("status", "told"), [(500, None), (429, "9"), (503, "9"), (410, None)])
def test_switch_errors_answers_the_chosen_status(
    api: Api, switch: Callable[..., None], status: int, told: str | None
) -> None:
    """At 100 % each request gets the status; Retry-After is sent with 429 and 503 only."""
    switch(errors=100, errors_status=status, retry_after=9)
    answers = [api.ask("/instances/studio-a") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {status}
    assert {answer.headers.get("Retry-After") for answer in answers} == {told}


def test_switch_errors_at_half_lets_some_through(api: Api, switch: Callable[..., None]) -> None:
    """At 50 % some requests pass and some fail (sixty alike happen once in 10^17 runs)."""
    switch(errors=50, errors_status=502)

    assert {api.ask("/instances").status_code for _ in range(60)} == {200, 502}


def test_switch_on_shows_in_the_admin_and_leaves_it_working(
    admin_pages: AdminPages, switch: Callable[..., None]
) -> None:
    """The admin shows that switches are on, and still works."""
    assert "Switched on" not in admin_pages.page()
    switch(down=True, slow=0.1, errors=30, errors_status=504)

    page = admin_pages.page("config_service/instance/")
    for words in ("down: every", "0.1 s longer", "30 % of answers are 504"):
        assert words in page


@pytest.mark.parametrize(
    "fields", [{"slow": -1}, {"slow": 61}, {"errors": 101}, {"errors": -1}, {"retry_after": -1}]
)
def test_switch_out_of_range_is_refused(
    service_admin: ServiceAdmin, fields: dict[str, Any]
) -> None:
    """The admin refuses switches that are out of range, with an explanation."""
    with pytest.raises(RuntimeError, match="Ensure this value"):
        service_admin.switch(**fields)


@pytest.mark.parametrize(
    ("slow", "status", "words"), [("61", 200, "Ensure this value"), ("0", 302, "")]
)
def test_switch_form_is_saved_if_it_makes_sense(
    admin_pages: AdminPages, switch: Callable[..., None], slow: str, status: int, words: str
) -> None:
    """The switches can be set by a form, at the address of the switches."""
    assert 'name="slow"' in admin_pages.page("config_service/switches/")
    form = {"slow": slow, "errors": "0", "errors_status": "500", "retry_after": ""}
    answer = admin_pages.send_form("config_service/switches/1/change/", **form)
    assert (answer.status_code, words in answer.text) == (status, True)


# --- the admin ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("api_keys", [], "Must be a JSON object"),
        ("api_keys", "text", "Must be a JSON object"),
        ("api_keys", {"render": 5}, "'render': must be a string."),
        ("api_keys", {"": "x"}, "A name must not be empty."),
        ("worker_urls", {"render": "ftp://x"}, "'render': must be a URL"),
        ("worker_urls", {"render": "http://"}, "'render': must be a URL"),
        ("worker_urls", {"render": "http://[x"}, "'render': must be a URL"),
        ("worker_urls", {"render": None}, "'render': must be a URL"),
        ("features", {"beta": 1}, "'beta': must be true or false."),
        ("rate_limits", {"render": 5}, "'render': must be an object"),
        ("rate_limits", {"render": {}}, "'render': must be an object"),
        ("rate_limits", {"render": {"rpm": None}}, "'render': must be an object"),
        ("rate_limits", {"render": {"rpm": True}}, "'render': must be an object"),
        ("rate_limits", {"render": {"rpm": 1, "daily": -1}}, "'render': must be an object"),
        ("rate_limits", {"render": {"rpm": 1, "rps": 1}}, "'render': must be an object"),
        ("refused_users", {}, "Must be a JSON list of user ids"),
        ("refused_users", [7], "Must be a JSON list of user ids"),
        ("colour", "red", "There is no such field."),
        ("save", 1, "There is no such field."),
    ],
)
def test_admin_refuses_what_breaks_the_contract(
    service_admin: ServiceAdmin, field: str, value: Any, complaint: str
) -> None:
    """A configuration that clients would reject is not saved, and the answer says why."""
    with pytest.raises(RuntimeError) as caught:
        service_admin.set("instance/studio-b", **{field: value})

    assert complaint in caught.value.args[0]


@pytest.mark.parametrize("name", ["-a", "a b", "é", "x" * 65])
def test_admin_refuses_an_id_that_clients_do(service_admin: ServiceAdmin, name: str) -> None:
    """An id that clients refuse cannot be saved."""
    with pytest.raises(RuntimeError, match="instance_id"):
        service_admin.set(f"instance/{name}")


def add(pages: AdminPages, **fields: str) -> requests.Response:
    """Send the form for a new instance, with the fields that are not named left empty."""
    names = "name description owner tenant_id refused_users r2_bucket api_keys rate_limits"
    empty = dict.fromkeys([*names.split(), "worker_urls", "features"], "")
    rows = {"projects-TOTAL_FORMS": "0", "projects-INITIAL_FORMS": "0"}
    return pages.send_form("config_service/instance/add/", **{**rows, **empty, **fields})


def test_admin_form_empty_json_field_is_an_empty_object(api: Api, admin_pages: AdminPages) -> None:
    """An empty JSON field of the form is saved as an empty object."""
    name = fresh_id()
    answer = add(admin_pages, instance_id=name, features='{"beta": true}')

    assert answer.status_code == 302
    body = api.ask(f"/instances/{name}").json()
    assert [body[f] for f in ("api_keys", "rate_limits", "worker_urls")] == [{}] * 3
    assert body["features"] == {"beta": True}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"instance_id": ""}, "This field is required."),
        ({"instance_id": "a b"}, "Use 1 to 64 letters"),
        ({"instance_id": "a", "api_keys": "no JSON"}, "Enter a valid JSON."),
        ({"instance_id": "a", "worker_urls": '{"render": "ftp://x"}'}, "must be a URL"),
    ],
)
def test_admin_form_says_what_is_wrong(
    admin_pages: AdminPages, fields: dict[str, str], complaint: str
) -> None:
    """The form comes again, with the complaint beside the field."""
    answer = add(admin_pages, **fields)

    assert answer.status_code == 200
    assert complaint in answer.text


def test_admin_list_masks_api_keys(admin_pages: AdminPages, instance_id: str) -> None:
    """The list shows which keys there are, not what they are."""
    page = admin_pages.page(f"config_service/instance/?q={instance_id}")

    assert "render: ••••" in page
    assert "a-secret" not in page


def test_admin_keeps_the_id_of_an_instance(admin_pages: AdminPages) -> None:
    """The form for an existing instance has no field for its id."""
    new = admin_pages.page("config_service/instance/add/")
    old = admin_pages.page("config_service/instance/studio-a/change/")

    assert ['name="description"' in page for page in (new, old)] == [True, True]
    assert ['name="instance_id"' in page for page in (new, old)] == [True, False]


def test_admin_pages_are_closed_without_the_password(config_service: ServerProcess) -> None:
    """The admin lets in only the superuser."""
    with pytest.raises(AssertionError, match="logged in"):
        AdminPages(config_service.url, "wrong")


@pytest.mark.parametrize(
    "auth", [None, ("admin", "wrong"), ("stranger", ADMIN_PASSWORD), ("admin", "")]
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_admin_api_is_closed_without_the_password(
    config_service: ServerProcess, method: str, auth: tuple[str, str] | None
) -> None:
    """The admin's API needs the superuser's password, and says so."""
    url = f"{config_service.url}/admin/api/instance/studio-a"
    answer = requests.request(method, url, json={"name": "x"}, auth=auth, timeout=10)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("method", "path", "data", "status"),
    [
        ("PATCH", "user/1", "{}", 404),
        ("PATCH", "instance/studio-a", "{", 400),
        ("PATCH", "instance/studio-a", "[]", 400),
        ("GET", "instance/studio-a", "", 405),
    ],
)
def test_admin_api_refuses_what_it_does_not_understand(
    service_admin: ServiceAdmin, method: str, path: str, data: str, status: int
) -> None:
    """A malformed request to the admin's API is answered with an error, not a crash."""
    url = service_admin.url + path

    assert service_admin.request(method, url, data, timeout=10).status_code == status
