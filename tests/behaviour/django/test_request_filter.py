"""The logging filter names request and instance on each record of a request, and costs nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.test import RequestFactory

from instance_lookup import use_instance
from instance_lookup.logging import RequestFilter
from instance_lookup.request import current
from instance_lookup.request.attributes import attach
from instance_lookup.signals import instance_resolved
from tests.support.doors import CALLERS, OLGA, Caller, owned_by, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.contrib.auth.models import User

    Said = Callable[[], list[tuple[str, str, str]]]

logger = logging.getLogger("site")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    """Returns logger, instance and request of each record so far."""
    caplog.set_level(logging.INFO)
    added = RequestFilter()
    caplog.handler.addFilter(added)
    yield lambda: [
        (each.name, vars(each)["instance_id"], vars(each)["request_id"]) for each in caplog.records
    ]
    caplog.handler.removeFilter(added)


def _log(**kwargs: Any) -> None:
    logger.info("resolved")


async def _alog(**kwargs: Any) -> None:
    logger.info("resolved")


@pytest.mark.parametrize("receiver", [_log, _alog])
@pytest.mark.parametrize("path", ["plain", "aplain"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_record_of_a_request(
    users: dict[str, User], said: Said, receiver: Any, path: str, is_async: bool
) -> None:
    """A record has the ids of its request while a lookup is under way, in sync and async code."""
    caller = Caller(is_async=is_async).login(users["olga"])
    instance_resolved.connect(receiver)
    caller(path, "acme", x_request_id="r-1")
    logger.info("after it")
    assert said() == [("site", "acme", "r-1"), ("site", "-", "-")]


@pytest.mark.parametrize("path", ["plain", "arequired"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_record_after_the_view(
    users: dict[str, User], said: Said, path: str, is_async: bool
) -> None:
    """The line that Django writes about a 404 is a record of the request as well."""
    caller = Caller(is_async=is_async).login(users["olga"])
    caller(path, "unknown", x_request_id="r-1")
    assert said() == [("django.request", "unknown", "r-1")]


@pytest.mark.parametrize("is_async", CALLERS)
def test_record_of_a_refusal(users: dict[str, User], said: Said, is_async: bool) -> None:
    """A line about a refusal keeps what it says itself."""
    Caller(is_async=is_async).login(users["sam"])("plain", "acme", x_request_id="r-1")
    assert said() == [("instance_lookup.access", "acme", "r-1"), ("django.request", "acme", "r-1")]


def test_record_of_a_request_without_an_instance(settings: Any, said: Said) -> None:
    """A request that asks for no instance has its own id on its records."""
    serve(settings)
    request = RequestFactory().get("/", headers={"X-Request-ID": "r-2"})
    logger.info("not attached", extra={"request": request})
    logger.info("of another kind", extra={"request": "a socket"})
    current.note(request)
    logger.info("noted")
    assert [each[1:] for each in said()] == [("-", "r-2"), ("-", "-"), ("-", "r-2")]


def test_record_of_a_project(settings: Any, said: Said) -> None:
    """What a project leads to is on the records once that is known."""
    service = serve(settings)
    service.instances["acme"] = owned_by(OLGA)
    service.projects["shop"] = "acme"
    request: Any = RequestFactory().get("/", headers={"X-Project-ID": "shop"})
    request.user = OLGA
    attach(request)
    current.note(request)
    logger.info("before")
    assert request.instance_config.instance_id == "acme"
    logger.info("after")
    assert [each[1] for each in said()] == ["-", "acme"]


def test_record_of_a_block(service: object, said: Said) -> None:
    """A record has the ids of the block around it, which stands for no request."""
    with use_instance("acme", user=OLGA, request_id="job-7"):
        logger.info("inside")
    logger.info("outside")
    assert [each[1:] for each in said()] == [("acme", "job-7"), ("-", "-")]
