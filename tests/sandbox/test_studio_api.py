"""The studio's API, its worker and its command line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests
from config_service.process import MANAGE
from studio.people import ADMIN, NEIGHBOUR, OWNER, PASSWORD, STRANGER, Visitor

from tests.sandbox.studio import ENVIRONMENT, KEY, SECRETS, add_instance, start_studio

if TYPE_CHECKING:
    import os

    from config_service.process import ServerProcess, ServiceAdmin
    from studio.worker import Worker


# --- API ---------------------------------------------------------------------------------------


def test_api_tells_where_the_caller_stands(people: dict[str, Visitor], mine: str) -> None:
    """The API tells programs the same as the page tells users."""
    answer = people["owner"].instance(X_Instance_ID=mine).json()

    assert answer["instance_id"] == mine
    assert answer["decided_by"] == "HeaderIdentifier"
    assert (answer["source"], answer["allowed_as"]) == ("service", "owner")
    assert 0 <= answer["age"] < 60
    assert 240 < answer["ttl_remaining"] <= 300
    assert answer["rate_limits"]["render"] == {"rpm": 60, "rpm_burst": None, "daily": 1000}


def test_api_takes_the_session_too(people: dict[str, Visitor]) -> None:
    """A user who is logged in on the pages may use the API."""
    answer = people["neighbour"].instance(Authorization=None)

    assert answer.json()["instance_id"] == "studio-b"


def test_api_by_token_wins_over_the_session(people: dict[str, Visitor]) -> None:
    """A token in the request says who is calling, not the session."""
    answer = people["owner"].page(
        "/api/instance/", Accept="application/json", Authorization=f"Token {NEIGHBOUR.token}"
    )

    assert answer.json()["instance_id"] == "studio-b"


@pytest.mark.parametrize("path", ["/api/instance/", "/api/instances/studio-a/"])
def test_api_asks_nobody_to_log_in(studio: ServerProcess, path: str) -> None:
    """Anonymous is 401 with a challenge, not 403."""
    answer = requests.get(studio.url + path, timeout=10)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"X_Instance_ID": "studio-a"}, 403, "access-denied"),
        ({"X_Instance_ID": "nowhere"}, 404, "instance-not-found"),
        ({"X_Instance_ID": "studio-a,studio-b"}, 400, "invalid-context"),
        ({}, 400, "invalid-context"),
    ],
)
def test_api_answers_problems(
    people: dict[str, Visitor], headers: dict[str, str], status: int, kind: str
) -> None:
    """Failed lookups are answered with problem details."""
    answer = people["stranger"].instance(**headers)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:instance-lookup:{kind}"


def test_api_gives_a_token_for_a_password(studio: ServerProcess) -> None:
    """A user who can log in can get a token."""
    url = f"{studio.url}/api/token/"
    answers = [
        requests.post(url, {"username": "owner", "password": password}, timeout=10)
        for password in (PASSWORD, "wrong")
    ]

    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[0].json() == {"token": OWNER.token}


def job(program: Visitor, path: str = "/api/jobs/", **fields: Any) -> requests.Response:
    instance_id = fields.pop("instance_id")
    return program.post(
        program.url + path, json=fields, headers={"X-Instance-ID": instance_id}, timeout=20
    )


def test_job_reaches_the_worker_with_the_key(people: dict[str, Visitor], mine: str) -> None:
    """The bearer is the instance's own key; the worker knows whose that is."""
    answer = job(people["owner"], instance_id=mine, task="a tree")

    assert answer.status_code == 200
    assert (answer.json()["customer"], answer.json()["result"]) == ("tests", "a tree: done")


def test_job_for_a_stranger_is_not_routed(people: dict[str, Visitor], mine: str) -> None:
    """A stranger's job is refused, so the instance's keys are not used."""
    assert job(people["stranger"], instance_id=mine, task="a tree").status_code == 403


def test_job_over_the_limit_is_refused(
    people: dict[str, Visitor], service_admin: ServiceAdmin, worker: Worker
) -> None:
    """The instance's own limit holds, and says when to come back."""
    limits = {"render": {"rpm": 5, "rpm_burst": None, "daily": 1}}
    name = add_instance(service_admin, rate_limits=limits, worker_urls={"render": worker.url})
    first, second = (job(people["owner"], instance_id=name, task="a tree") for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    assert 0 < int(second.headers["Retry-After"]) <= 86_400


def test_job_for_a_worker_that_is_not_there(people: dict[str, Visitor], mine: str) -> None:
    """A wrong name is answered with the right ones."""
    answer = job(people["owner"], instance_id=mine, worker="paint", task="a tree")

    assert answer.status_code == 400
    assert "it has: render" in answer.json()["detail"]


def test_job_without_a_task_is_refused(people: dict[str, Visitor], mine: str) -> None:
    """The body is checked before the worker is asked."""
    answer = job(people["owner"], instance_id=mine)

    assert (answer.status_code, list(answer.json())) == (400, ["task"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"api_keys": {"render": "another-key"}}, "The worker answers 401."),
        ({"api_keys": {}}, "The worker answers 401."),
        ({"worker_urls": {"render": "http://127.0.0.1:9/jobs"}}, "The worker does not answer."),
    ],
)
def test_job_that_the_worker_does_not_do(
    people: dict[str, Visitor],
    service_admin: ServiceAdmin,
    worker: Worker,
    fields: dict[str, Any],
    words: str,
) -> None:
    """A worker's failure gets a 502."""
    name = add_instance(service_admin, **{"worker_urls": {"render": worker.url}, **fields})
    answer = job(people["owner"], instance_id=name, task="a tree")

    assert (answer.status_code, answer.json()["detail"]) == (502, words)


@pytest.mark.parametrize(("features", "status"), [({"upscale": True}, 200), ({}, 403)])
def test_upscaling_needs_the_feature(
    people: dict[str, Visitor],
    service_admin: ServiceAdmin,
    worker: Worker,
    features: dict[str, bool],
    status: int,
) -> None:
    """A feature flag of the instance opens an endpoint."""
    urls = {"render": worker.url}
    name = add_instance(service_admin, features=features, worker_urls=urls)
    answer = job(people["owner"], "/api/upscale/", instance_id=name, task="a tree")

    assert answer.status_code == status
    assert (status == 200) == ("customer" in answer.json())


# --- the worker --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "body", "status"),
    [
        (f"Bearer {KEY}", '{"task": "a tree"}', 200),
        (f"Bearer {KEY}x", '{"task": "a tree"}', 401),
        (f"Basic {KEY}", '{"task": "a tree"}', 401),
        (None, '{"task": "a tree"}', 401),
        (f"Bearer {KEY}", '{"task": 5}', 400),
        (f"Bearer {KEY}", "[]", 400),
        (f"Bearer {KEY}", "{", 400),
    ],
)
def test_worker_checks_the_bearer_and_the_body(
    worker: Worker, authorization: str | None, body: str, status: int
) -> None:
    """A worker refuses a job without a key, and a body that it does not understand."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = requests.post(worker.url, data=body, headers=headers, timeout=10)

    assert answer.status_code == status


# --- the command line --------------------------------------------------------------------------


def manage(data_dir: os.PathLike[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(MANAGE), *words],
        env={**ENVIRONMENT, "SANDBOX_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("site", ["studio", "config_service"])
@pytest.mark.parametrize(
    "command", [["check", "--fail-level=WARNING"], ["makemigrations", "--check", "--dry-run"]]
)
def test_site_has_nothing_left_to_do(
    tmp_path: os.PathLike[str], command: list[str], site: str
) -> None:
    """The system checks pass, and no migration is missing."""
    done = manage(tmp_path, *command, f"--settings={site}.settings")

    assert done.returncode == 0, done.stderr


def test_seeding_twice_changes_nothing(studio: ServerProcess) -> None:
    """Seeding twice keeps the people and their ids."""
    browser = Visitor(studio.url, OWNER)
    with start_studio(studio.log.parent, "http://127.0.0.1:9"):
        pass

    assert browser.page("/").status_code == 200
    assert Visitor(studio.url, OWNER).instance().json()["owner"] == OWNER.user_id


def test_server_on_a_taken_port_says_so(studio: ServerProcess, tmp_path: os.PathLike[str]) -> None:
    """A server whose port is taken prints the reason, and no traceback."""
    done = manage(tmp_path, "serve", f"--port={studio.port}")

    assert done.returncode == 1
    assert f"Cannot listen on port {studio.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_of_the_studio_holds_no_secret(studio: ServerProcess, mine: str) -> None:
    """The studio's log holds no key and no token."""
    Visitor(studio.url, ADMIN).instance(X_Instance_ID=mine)
    Visitor(studio.url, STRANGER).instance(X_Instance_ID=mine)
    log = studio.log.read_text()

    assert not [secret for secret in (*SECRETS, OWNER.token) if secret in log]
    assert "Traceback" not in log
