"""A stream that reads the instance first when its headers are gone says so, and shows nothing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import path

from instance_lookup.middleware import InstanceConfigMiddleware
from tests.support.doors import CALLERS, Caller, owned_by, serve, vary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

HEADERS = {"X-Instance-ID", "X-Project-ID"}


def late(request: Any) -> StreamingHttpResponse:
    """Read the instance where the stream has begun."""

    def parts() -> Iterator[str]:
        yield request.instance_config.instance_id

    return StreamingHttpResponse(parts())


async def alate(request: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield (await request.ainstance_config()).instance_id

    return StreamingHttpResponse(parts())


def early(request: Any) -> StreamingHttpResponse:
    """Read the instance in the view, and again in the stream."""
    str(request.instance_config.instance_id)
    return late(request)


async def aearly(request: Any) -> StreamingHttpResponse:
    await request.ainstance_config()
    return await alate(request)


def untouched(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(["a", "b"]))


async def auntouched(request: Any) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    return StreamingHttpResponse(parts())


def plain(request: Any) -> HttpResponse:
    return HttpResponse("plain")


VIEWS: list[Any] = [late, alate, early, aearly, untouched, auntouched, plain]
urlpatterns = [path(view.__name__, view) for view in VIEWS]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def olga(db: None, settings: Any) -> User:
    olga = User.objects.create_user("olga")
    serve(settings).instances["acme"] = owned_by(olga)
    return olga


def get(view: str, user: User, *, is_async: bool) -> tuple[Any, list[bytes]]:
    """Return a response, and what its stream yields when it is read as a server reads it."""
    # Django warns of an iterator of the other kind.
    other = is_async is not view.startswith("a")
    with pytest.warns(Warning, match="iterator") if other else nullcontext():
        response = Caller(is_async=is_async).login(user)(view, "acme")
        parts = async_to_sync(_collect)(response) if is_async else list(response)
    return response, parts


async def _collect(response: Any) -> list[bytes]:
    return [part async for part in response]


TWINS = [("late", False), ("alate", True)]


@pytest.mark.parametrize(("view", "is_async"), TWINS)
def test_first_touch_in_a_stream_is_an_error(olga: User, view: str, is_async: bool) -> None:
    """A stream that reads the instance first is an error: the headers are already sent."""
    with pytest.raises(RuntimeError, match=r"Read request\.instance_config in the view"):
        get(view, olga, is_async=is_async)


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("view", ["early", "aearly"])
def test_later_touch_in_a_stream_is_answered(olga: User, view: str, is_async: bool) -> None:
    """A stream may read the instance when the view has read it before."""
    if view == "early" and is_async:  # a synchronous stream on the event loop
        view = "aearly"

    response, parts = get(view, olga, is_async=is_async)

    assert parts == [b"acme"]
    assert vary(response) >= HEADERS
    assert response.headers["Cache-Control"] == "private"


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("view", ["untouched", "auntouched"])
def test_stream_that_touches_nothing_is_as_ever(olga: User, view: str, is_async: bool) -> None:
    """A stream that does not read the instance gets no header of ours."""
    response, parts = get(view, olga, is_async=is_async)

    assert parts == [b"a", b"b"]
    assert vary(response) <= {"Cookie"}
    assert "Cache-Control" not in response.headers


def test_file_is_still_sent_by_the_server(tmp_path: Path) -> None:
    """A file response is still sent by the server's ``wsgi.file_wrapper``."""
    (tmp_path / "file").write_text("content")
    opened = (tmp_path / "file").open("rb")
    middleware = InstanceConfigMiddleware(lambda request: FileResponse(opened))

    response: Any = middleware(RequestFactory().get("/"))

    assert response.file_to_stream is opened
    assert b"".join(response) == b"content"
    opened.close()


def logs_the_tenant(get_response: Any) -> Any:
    """A middleware outside of ours that reads the instance of a finished response."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response.headers["X-Tenant"] = request.instance_config.instance_id
        return response

    return middleware


@pytest.mark.parametrize("view", ["plain", "untouched"])
def test_outer_middleware_that_reads_it_first_gets_the_headers_too(
    olga: User, settings: Any, view: str
) -> None:
    """An outer middleware may read the instance while the response has not begun."""
    *others, ours = settings.MIDDLEWARE
    settings.MIDDLEWARE = [*others, "tests.behaviour.django.test_streams.logs_the_tenant", ours]

    response, _ = get(view, olga, is_async=False)

    assert response.headers["X-Tenant"] == "acme"
    assert vary(response) >= HEADERS
    assert response.headers["Cache-Control"] == "private"
