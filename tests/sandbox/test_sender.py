"""The reference Config Service: its changes reach each receiver, whatever happens to either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from config_service.process import MANAGE, ServiceAdmin, next_line

from tests.sandbox.receiver import Receiver, receiving, told
from tests.sandbox.service import (
    ADMIN_PASSWORD,
    AdminPages,
    environment,
    fresh_id,
    run_in_service,
    start_config_service,
)
from tests.sandbox.test_config_service_admin import add
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from config_service.process import ServerProcess

TIMEOUT = {"CONFIG_SERVICE_WEBHOOK_TIMEOUT": "0.5"}


class Sending:
    """A service and its receivers, each for one kind of test: trouble of one is not another's."""

    def __init__(self, server: ServerProcess, receivers: dict[str, Receiver], away: int) -> None:
        self.server, self.receivers, self.away = server, receivers, away
        self.admin = ServiceAdmin(server.url, ADMIN_PASSWORD)
        self.pages = AdminPages(server.url)

    def page(self, subject_id: str) -> str:
        """Return what the admin lists of a subject."""
        return self.pages.page(f"config_service/delivery/?q={subject_id}")


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    """A service that tells five receivers, of which one is down."""
    with receiving() as good, receiving() as failing, receiving() as busy, receiving() as slow:
        away = free_port()
        secretive = f"http://user:a-password@127.0.0.1:{away}/hook/?token=a-token"
        data_dir = tmp_path_factory.mktemp("outbox")
        names = told(good, failing, busy, slow, secretive)
        with start_config_service(
            data_dir, seed=False, env={"CONFIG_SERVICE_WEBHOOKS": names, **TIMEOUT}
        ) as server:
            run_in_service(data_dir, MAKE_SUPERUSER)
            receivers = {"good": good, "failing": failing, "busy": busy, "slow": slow}
            found = Sending(server, receivers, away)
            with found.admin, found.pages:
                yield found


MAKE_SUPERUSER = f"""
    from django.contrib.auth.models import User
    User.objects.create_superuser("admin", password={ADMIN_PASSWORD!r})
    print("null")
"""


# --- what is told ------------------------------------------------------------------------------


def test_each_kind_of_change_is_told_in_order(sending: Sending) -> None:
    """Saved, access taken, deleted: each has its type, and a project that goes along its own."""
    name, project, good = fresh_id(), fresh_id(), sending.receivers["good"]
    path = f"instance/{name}"
    sending.admin.set(path, owner="7", refused_users=["9"])
    sending.admin.set(f"project/{project}", instance_id=name)
    sending.admin.set(path, name="A new name", refused_users=[])
    sending.admin.set(path, refused_users=["9", "12"])
    sending.admin.set(path, owner="8")
    sending.admin.set(path, tenant_id="first")
    sending.admin.set(path, tenant_id="second")
    sending.admin.remove(name)
    verbs = ["updated", "updated", "revoked", "revoked", "updated", "revoked", "deleted"]

    of_instance, of_project = good.wait(len(verbs), name), good.wait(2, project)

    assert [each.type for each in of_instance] == [f"instance.{verb}" for verb in verbs]
    assert [each.type for each in of_project] == ["project.updated", "project.deleted"]
    ids = {each.webhook_id for each in (*of_instance, *of_project)}
    assert len(ids) == len(verbs) + 2


def test_pages_of_the_admin_are_told(sending: Sending) -> None:
    """What people save, and delete by the action of the list, is told as what programs do."""
    name, good = fresh_id(), sending.receivers["good"]
    add(sending.pages, instance_id=name)
    chosen = {"action": "delete_selected", "_selected_action": name, "post": "yes"}
    sending.pages.send_form("config_service/instance/", **chosen)

    assert [each.type for each in good.wait(2, name)] == ["instance.updated", "instance.deleted"]


def test_what_changes_nothing_is_not_told(sending: Sending) -> None:
    """The admin's API does not save, and so does not tell, what is as it was."""
    name, other, good = fresh_id(), fresh_id(), sending.receivers["good"]
    for owner in ("7", "7"):
        sending.admin.set(f"instance/{name}", owner=owner)
    sending.admin.set(f"instance/{other}")
    good.wait(1, other)

    assert len(good.got(name)) == 1


# --- receivers with trouble --------------------------------------------------------------------


def test_receiver_that_fails_twice_gets_it_the_third_time(sending: Sending) -> None:
    """Whatever it answers, the same delivery comes again, and the admin tells the story."""
    name, failing = fresh_id(), sending.receivers["failing"]
    failing.answers[name].extend([500, 302])
    sending.admin.set(f"instance/{name}", owner="1")
    sending.admin.set(f"instance/{name}", owner="2")
    got = failing.wait(4, name)

    assert [each.type for each in got] == ["instance.updated"] * 3 + ["instance.revoked"]
    assert len({each.webhook_id for each in got}) == 2
    wait_until(lambda: sending.page(name).count(">delivered<") >= 8)
    assert '<td class="field-attempts">3</td>' in sending.page(name)


def test_retry_after_is_kept_for_all_that_waits(sending: Sending) -> None:
    """A receiver that asks for two seconds has two, from each change that is meant for it."""
    name, other, busy = fresh_id(), fresh_id(), sending.receivers["busy"]
    busy.answers[name].append((429, {"Retry-After": "2"}))
    sending.admin.set(f"instance/{name}")
    [first] = busy.wait(1, name)
    wait_until(lambda: "429 Too Many Requests" in sending.page(name))
    sending.admin.set(f"instance/{other}")
    [_, again], [later] = busy.wait(2, name), busy.wait(1, other)

    assert again.webhook_id == first.webhook_id
    assert again.at - first.at >= 2
    assert later.at - first.at >= 2


@pytest.mark.full
def test_slow_receiver_is_asked_again_and_holds_up_nobody(sending: Sending) -> None:
    """An answer that takes too long is none; meanwhile others are told."""
    name, slow, end = fresh_id(), sending.receivers["slow"], Event()
    slow.answers[name].append(end)
    try:
        sending.admin.set(f"instance/{name}")
        slow.wait(1, name)
        sending.receivers["good"].wait(1, name)
        first, again = slow.wait(2, name)
    finally:
        end.set()

    assert again.webhook_id == first.webhook_id
    assert "ReadTimeout" in sending.server.log.read_text()


def test_receiver_that_is_down_gets_all_once_it_is_back(sending: Sending) -> None:
    """Changes wait for a receiver that is away; neither log nor admin shows its password."""
    names = [fresh_id(), fresh_id()]
    for name in names:
        sending.admin.set(f"instance/{name}")
    # Not for these: it may be paused already, by what other tests had for it.
    wait_until(lambda: "hook/ (ConnectionError)" in sending.server.log.read_text())
    with receiving(sending.away) as back:
        retry(sending.pages)  # it may have been away for a minute
        got = back.wait(2, *names)
        wait_until(lambda: "waiting" not in sending.page(names[1]))

    assert {each.type for each in got} == {"instance.updated"}
    said = sending.server.log.read_text() + sending.page(names[0])
    assert f"http://127.0.0.1:{sending.away}/hook/" in said
    assert "a-password" not in said
    assert "a-token" not in said


def retry(pages: AdminPages) -> None:
    """Choose all deliveries, and have what waits tried again at once."""
    listing = "config_service/delivery/?all="
    keys = [
        part.partition('"')[0] for part in pages.page(listing).split('_selected_action" value="')
    ]
    chosen: dict[str, Any] = {"action": "try_again", "_selected_action": keys[1:]}
    assert pages.send_form(listing, **chosen).status_code == 302


# --- senders -----------------------------------------------------------------------------------


def test_killed_sender_loses_nothing(tmp_path: Path) -> None:
    """What was on its way when the service was killed is sent again by the next one."""
    end = Event()
    with receiving() as receiver:
        env = {"CONFIG_SERVICE_WEBHOOKS": told(receiver), **TIMEOUT}
        receiver.answers["studio-a"].append(end)
        with start_config_service(tmp_path, env=env) as server:
            [first] = receiver.wait(1, "studio-a")
            server.process.kill()
        end.set()
        with start_config_service(tmp_path, seed=False, env=env):
            again = receiver.wait(2, "studio-a")[1]
            receiver.wait(3, "studio-b", "no-owner", "film-42")

    assert again.webhook_id == first.webhook_id


def test_two_senders_send_each_change_once_and_in_order(tmp_path: Path) -> None:
    """Two senders share the work: none is lost or sent twice, and each instance keeps its order."""
    both, end = ("studio-a", "studio-b"), Event()
    with receiving() as receiver:
        env = {"CONFIG_SERVICE_WEBHOOKS": told(receiver), "CONFIG_SERVICE_WEBHOOK_TIMEOUT": "60"}
        receiver.answers["no-owner"].append(end)
        with (
            start_config_service(tmp_path, env=env) as server,
            ServiceAdmin(server.url, ADMIN_PASSWORD) as admin,
            second_sender(tmp_path, env),
        ):
            receiver.wait(1, "no-owner")  # which keeps the service's own sender
            alternate(admin, both, range(4))
            receiver.wait(2 + 2 * 4, *both)
            end.set()
            alternate(admin, both, range(4, 12))
            admin.wait_until_told()
            sent = server.log.read_text().count("Sent ")
    got = receiver.got(*both)

    assert len({each.webhook_id for each in got}) == len(got) == 2 + 2 * 12
    assert 3 <= sent <= 3 + 2 * 8, "both had a part in it"
    for name in both:
        types = [each.type for each in receiver.got(name)]
        assert types == ["instance.updated", *["instance.revoked", "instance.updated"] * 6]


def alternate(admin: ServiceAdmin, names: Sequence[str], numbers: range) -> None:
    """Give instances another owner, another name, another owner …: what is told alternates."""
    for number in numbers:
        for name in names:
            field = "name" if number % 2 else "owner"
            admin.set(f"instance/{name}", **{field: f"number {number}"})


def second_sender(data_dir: Path, env: dict[str, str]) -> Any:
    """Start ``send_changes``; it stops with its ``with`` block."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "send_changes", "--settings=config_service.settings"],
        env={**os.environ, "SANDBOX_DATA_DIR": str(data_dir), **environment(), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    assert next_line(process, 60) == b"Sending.\n"
    return _Terminated(process)


class _Terminated:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        self.process.terminate()
        with self.process:
            assert self.process.wait(20) == 0


@pytest.mark.parametrize(
    "value",
    ["no JSON", "[]", '{"http://x/": []}', '{"http://x/": ["whsec_"]}', '{"u": ["a-secret!"]}'],
)
def test_malformed_receivers_are_refused_without_their_secrets(tmp_path: Path, value: str) -> None:
    """A variable that cannot be read says so at the start, and does not show what it holds."""
    with pytest.raises(RuntimeError, match="CONFIG_SERVICE_WEBHOOKS is not as it should be") as e:
        start_config_service(tmp_path, env={"CONFIG_SERVICE_WEBHOOKS": value})

    assert "a-secret" not in str(e.value)


def test_waiting_is_for_the_superuser(sending: Sending) -> None:
    """How much waits is nobody else's business, as all of the admin."""
    with ServiceAdmin(sending.server.url, "wrong") as stranger:
        assert stranger.get(f"{stranger.url}waiting", timeout=10).status_code == 401
    assert json.loads(sending.pages.page("api/waiting")).keys() == {"waiting"}
