"""The reference Config Service: what its admin takes, and the switches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from config_service.remote import Form, FormRefused, RemoteAdmin
from django.contrib.admin.utils import quote

from tests.sandbox.service import Api

if TYPE_CHECKING:
    from collections.abc import Callable

    from config_service.process import ServerProcess


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
    """Switches are read on every request."""
    switch(down=True)
    assert api.ask("/instances").status_code == 503
    switch()
    assert api.ask("/instances").status_code == 200


def test_switch_slow_delays_every_answer_side_by_side(
    config_service: ServerProcess, switch: Callable[..., None]
) -> None:
    """Slow requests wait at the same time, as they would in a real service."""
    switch(slow=0.4)
    started = monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Api(config_service.url).ask("/instances"), range(8)))
    elapsed = monotonic() - started

    assert {answer.status_code for answer in answers} == {200}
    assert 0.4 <= elapsed < 8 * 0.4


@pytest.mark.parametrize(("status", "told"), [(500, None), (429, "9"), (503, "9"), (410, None)])
def test_switch_errors_answers_the_chosen_status(
    api: Api, switch: Callable[..., None], status: int, told: str | None
) -> None:
    """At 100 % each request gets the status; Retry-After goes with 429 and 503 alone."""
    switch(errors=100, errors_status=status, retry_after=9)
    answers = [api.ask("/instances/studio-a") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {status}
    assert {answer.headers.get("Retry-After") for answer in answers} == {told}


def test_switch_errors_at_half_lets_some_through(api: Api, switch: Callable[..., None]) -> None:
    """A percentage is a chance, not a switch: 60 tosses all alike happen once in 10^17 runs."""
    switch(errors=50, errors_status=502)

    assert {api.ask("/instances").status_code for _ in range(60)} == {200, 502}


def test_switch_on_shows_in_the_admin_and_leaves_it_working(
    service_admin: RemoteAdmin, switch: Callable[..., None]
) -> None:
    """Who broke the service can see that, and mend it."""
    assert "Switched on" not in service_admin.get()
    switch(down=True, slow=0.1, errors=30, errors_status=504)

    page = service_admin.get("config_service/instance/")
    for words in ("down: every", "0.1 s longer", "30 % of answers are 504"):
        assert words in page


@pytest.mark.parametrize(
    "fields", [{"slow": -1}, {"slow": 61}, {"errors": 101}, {"errors": -1}, {"retry_after": -1}]
)
def test_switch_out_of_range_is_refused(service_admin: RemoteAdmin, fields: dict[str, Any]) -> None:
    """The admin explains instead of saving what makes no sense."""
    with pytest.raises(FormRefused, match="Ensure this value"):
        service_admin.switch(**fields)


# --- the admin ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("api_keys", [], "Must be a JSON object"),
        ("api_keys", "no JSON", "Enter a valid JSON"),
        ("api_keys", {"render": 5}, "'render': must be a string."),
        ("api_keys", {"": "x"}, "A name must not be empty."),
        ("worker_urls", {"render": "ftp://x"}, "'render': must be a URL"),
        ("worker_urls", {"render": "http://"}, "'render': must be a URL"),
        ("worker_urls", {"render": "http://[x"}, "'render': must be a URL"),
        ("worker_urls", {"render": None}, "'render': must be a URL"),
        ("features", {"beta": 1}, "'beta': must be true or false."),
        ("rate_limits", {"render": 5}, "'render': must be an object"),
        ("rate_limits", {"render": {}}, "“rpm” (requests per minute) is required."),
        ("rate_limits", {"render": {"rpm": None}}, "'rpm' must be a whole number of at least 0."),
        ("rate_limits", {"render": {"rpm": True}}, "'rpm' must be a whole number of at least 0."),
        ("rate_limits", {"render": {"rpm": 1, "daily": -1}}, "of at least 0, or null."),
        ("rate_limits", {"render": {"rpm": 1, "rps": 1}}, "'rps' is not one of rpm, rpm_burst"),
        ("refused_users", {}, "Must be a JSON list of user ids"),
        ("refused_users", [7], "Must be a JSON list of user ids"),
    ],
)
def test_admin_refuses_what_breaks_the_contract(
    service_admin: RemoteAdmin, field: str, value: Any, complaint: str
) -> None:
    """A configuration that clients would reject is not saved, and the form says why."""
    with pytest.raises(FormRefused) as caught:
        service_admin.change_instance("studio-b", **{field: value})

    assert any(complaint in error for error in caught.value.args[0])


@pytest.mark.parametrize("name", ["-a", "a b", "é", "x" * 65, ""])
def test_admin_refuses_an_id_that_clients_do(service_admin: RemoteAdmin, name: str) -> None:
    """Nobody could ask for such an instance."""
    with pytest.raises(FormRefused):
        service_admin.add_instance(name)


def test_admin_empty_json_field_is_an_empty_object(
    api: Api, service_admin: RemoteAdmin, instance_id: str
) -> None:
    """Clearing a field is a way to say: none."""
    service_admin.change_instance(
        instance_id, api_keys=None, rate_limits=None, worker_urls=None, features=None
    )

    body = api.ask(f"/instances/{instance_id}").json()
    assert [body[f] for f in ("api_keys", "rate_limits", "worker_urls", "features")] == [{}] * 4


def test_admin_list_masks_api_keys(service_admin: RemoteAdmin, instance_id: str) -> None:
    """The list shows which keys there are, not what they are."""
    page = service_admin.get(f"config_service/instance/?q={instance_id}")

    assert "render: ••••" in page
    assert "a-secret" not in page


def test_admin_keeps_the_id_of_an_instance(service_admin: RemoteAdmin, instance_id: str) -> None:
    """Another id is another instance, so the form has no field for it."""
    new = Form(service_admin.get("config_service/instance/add/")).values
    old = Form(service_admin.get(f"config_service/instance/{quote(instance_id)}/change/")).values

    assert new.keys() - old.keys() == {"instance_id"}


def test_admin_is_closed_without_the_password(config_service: ServerProcess) -> None:
    """Only the superuser gets in."""
    with pytest.raises(FormRefused):
        RemoteAdmin(config_service.url, "admin", "wrong")
