"""docs/how-to/sockets.md: its stack of Channels and its plain application, on the README's site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client

from instance_lookup.asgi import InstanceConfigMiddleware
from tests.support.documents import ACME, ROOT, Site, blocks
from tests.support.sockets import Socket, opened, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Channels closes connections between messages, so a test cannot be one transaction.
pytestmark = pytest.mark.django_db(transaction=True)

OWNER = int(ACME["metadata"]["owner"])
OWNER_AND_SAM = (("olga", OWNER), ("sam", OWNER + 1))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, [*blocks("README.md"), *blocks("sockets.md")])


def handshake(path: str, user: User | None = None, query: str = "", **fields: Any) -> Any:
    """Return the scope of a browser's handshake, with the cookie of a session."""
    client = Client()
    if user is not None:
        client.force_login(user)
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    scope = scope_of(path=path, query_string=query.encode(), **fields)
    scope["headers"] += [(b"cookie", cookie.encode()), (b"origin", b"http://testserver")]
    return scope


async def _say(application: Any, scope: Any, said: Any) -> Any:
    async with opened(application, scope) as socket:
        answer = json.loads((await socket.say(json.dumps(said)))["text"])
        await socket.leave()
        return answer


async def _refused(application: Any, scope: Any) -> Any:
    socket = Socket(application, scope)
    refused = await socket.connect()
    await socket.ended()
    return refused.get("code")


say: Callable[..., Any] = async_to_sync(_say)
refused: Callable[..., Any] = async_to_sync(_refused)


def test_stack_of_the_page(site: Site) -> None:
    """Sessions say who it is, query and route which instance; others are refused."""
    with site.running():
        owner, sam = (User.objects.create_user(name, pk=pk) for name, pk in OWNER_AND_SAM)
        application = import_module("mysite.asgi").application
        jobs = "instance_id=acme"
        assert say(application, handshake("/ws/jobs/", owner, jobs), {"job": 7}) == {
            "instance": "acme",
            "job": 7,
        }
        renders = handshake("/ws/acme/renders/", owner)
        assert say(application, renders, {}) == {"instance": "acme", "beta": True}
        for scope, code in (
            (handshake("/ws/jobs/", sam, jobs), 4403),
            (handshake("/ws/jobs/", None, jobs), 4403),
            (handshake("/ws/acme/renders/", owner, "instance_id=other"), 4400),
            (handshake("/ws/other/renders/", owner), 4404),
            (handshake("/ws/jobs/", owner), 4400),
        ):
            assert refused(application, scope) == code


def test_user_who_is_loaded_again(site: Site) -> None:
    with site.running():
        owner = User.objects.create_user("olga", pk=OWNER)
        consumer = import_module("mysite.consumers").CarefulConsumer.as_asgi()
        scope = scope_of(user=owner, query_string=b"instance_id=acme")
        assert say(InstanceConfigMiddleware(consumer), scope, {"job": 1})["job"] == 1
        User.objects.update(is_active=False)
        closed = async_to_sync(_closed)(InstanceConfigMiddleware(consumer), scope)
        assert closed["code"] == 4403


async def _closed(application: Any, scope: Any) -> Any:
    async with opened(application, scope) as socket:
        closed = await socket.say('{"job": 1}')
        await socket.ended()
        return closed


def test_plain_application(site: Site) -> None:
    with site.running():
        owner = User.objects.create_user("olga", pk=OWNER)
        answers = async_to_sync(_get)(import_module("mysite.plain").application, owner)
        assert answers == (200, b"acme")


async def _get(application: Any, user: User) -> tuple[int, bytes]:
    client = Socket(application, scope_of("acme", kind="http", user=user))
    start, body = await client.take(), await client.take()
    return start["status"], body["body"]


def test_tests_of_the_page(site: Site) -> None:
    """They pass, as Django's own runner finds them."""
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "mysite.test_sockets"],
        cwd=site.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "mysite.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
