from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject, empty

from instance_lookup.context import (
    LookupContext,
    RequestMetadata,
    acurrent_user,
    current_user,
    fresh_request_id,
    peek_user,
)
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

ADA = User(pk=7, username="ada")
TOKEN_USER = User(pk=8, username="token")


def sync_context(user: Any, request: HttpRequest | None = None) -> LookupUser:
    return LookupUser(f"sync-{getattr(user, 'pk', None)}")


async def async_context(user: Any, request: HttpRequest | None = None) -> LookupUser:
    return LookupUser(f"async-{getattr(user, 'pk', None)}")


class AsyncCallable:
    async def __call__(self, user: Any, request: HttpRequest | None = None) -> LookupUser:
        return LookupUser(f"object-{getattr(user, 'pk', None)}")


def request_of(user: object = None, **extra: Any) -> HttpRequest:
    request = RequestFactory().get("/", **extra)
    request.user = user  # type: ignore[assignment]
    return request


def request_with_session(user: User | None = None) -> HttpRequest:
    """Return a request as Django's AuthenticationMiddleware leaves it."""
    request = RequestFactory().get("/")
    request.session = SessionStore()
    if user is not None:
        request.session["_auth_user_id"] = str(user.pk)
        request.session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        request.session["_auth_user_hash"] = user.get_session_auth_hash()
    AuthenticationMiddleware(lambda _: HttpResponse()).process_request(request)
    return request


def test_metadata_of_a_request() -> None:
    """Address, agent and request id are taken from the request unchanged."""
    request = request_of(
        REMOTE_ADDR="10.0.0.1", HTTP_USER_AGENT="curl", HTTP_X_REQUEST_ID="a1B2.-_:/+=@"
    )
    assert RequestMetadata.from_request(request) == RequestMetadata(
        "10.0.0.1", "curl", "a1B2.-_:/+=@"
    )


@pytest.mark.parametrize("odd", ["", " ", "a b", "a\n", "a\r\nX: y", "é", "x" * 129, "a,b", "<b>"])
def test_metadata_replaces_odd_request_id(odd: str) -> None:
    """A malformed request id is replaced by a new one."""
    found = RequestMetadata.from_request(request_of(HTTP_X_REQUEST_ID=odd)).request_id
    assert found is not None
    assert found != odd
    assert len(found) == 32


def test_metadata_without_headers() -> None:
    """A request without them still gets an id."""
    request = request_of()
    del request.META["REMOTE_ADDR"]
    found = RequestMetadata.from_request(request)
    assert (found.ip, found.user_agent) == (None, None)
    assert found.request_id


def test_fresh_request_ids_differ() -> None:
    """Each request gets a different id."""
    assert fresh_request_id() != fresh_request_id()


def test_from_request_takes_user_and_request() -> None:
    """``from_request`` takes the user and the request."""
    request = request_of(ADA, HTTP_X_REQUEST_ID="r1")
    context = LookupContext.from_request(request)
    assert (context.user.user_id, context.request_metadata.request_id) == ("7", "r1")
    assert context.request is request
    assert (context.instance_id, context.project_id) == (None, None)


async def test_overrides_win_over_the_request() -> None:
    """Fields given to ``from_request`` come first, and then the request's user is not read."""
    request = request_of(SimpleLazyObject(lambda: pytest.fail("the user was read")))
    given = {"user": LookupUser("9"), "instance_id": "acme", "project_id": "p1"}
    for context in (
        LookupContext.from_request(request, **given),
        await LookupContext.afrom_request(request, **given),
    ):
        assert context.user == LookupUser("9")
        assert (context.instance_id, context.project_id) == ("acme", "p1")


def test_unknown_override() -> None:
    """A misspelt field is an error, not ignored."""
    with pytest.raises(TypeError, match="instance"):
        LookupContext.from_request(request_of(), instance="acme")


def test_context_repr_hides_the_request() -> None:
    """The context's repr does not show the request, which has its path and more."""
    assert "request=" not in repr(LookupContext.from_request(request_of(ADA)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("tests.behaviour.which.test_context.sync_context", "sync-7"),
        (sync_context, "sync-7"),
        ("tests.behaviour.which.test_context.async_context", "async-7"),
        (AsyncCallable(), "object-7"),
        ("instance_lookup.users.user_context", "7"),
    ],
)
class TestUserContext:
    def test_sync(self, function: object, expected: str) -> None:
        """`USER_CONTEXT` may be sync or async for a sync view."""
        with override_settings(INSTANCE_LOOKUP={"USER_CONTEXT": function}):
            assert LookupContext.from_request(request_of(ADA)).user.user_id == expected

    async def test_async(self, function: object, expected: str) -> None:
        """`USER_CONTEXT` may be sync or async for an async view."""
        with override_settings(INSTANCE_LOOKUP={"USER_CONTEXT": function}):
            context = await LookupContext.afrom_request(request_of(ADA))
        assert context.user.user_id == expected


@pytest.mark.parametrize("wrong", [lambda user, request: user, lambda user, request: "7"])
async def test_user_context_of_the_wrong_type(wrong: Callable[..., object]) -> None:
    """A `USER_CONTEXT` that returns something else is named in the error, in both twins."""
    with override_settings(INSTANCE_LOOKUP={"USER_CONTEXT": wrong}):
        with pytest.raises(TypeError, match="USER_CONTEXT must return a LookupUser, not "):
            LookupContext.from_request(request_of(ADA))
        with pytest.raises(TypeError, match="USER_CONTEXT must return a LookupUser, not "):
            await LookupContext.afrom_request(request_of(ADA))


@pytest.mark.parametrize("user", [None, ADA, AnonymousUser()])
async def test_user_that_is_there(user: object) -> None:
    """A user on the request is used as it is: DRF puts its authenticated user there."""
    request = request_of(user)
    assert peek_user(request) is current_user(request) is await acurrent_user(request) is user


def test_request_without_user() -> None:
    """Without a middleware that sets a user there is no user."""
    assert current_user(RequestFactory().get("/")) is None


def test_lazy_user_is_read_once_needed() -> None:
    """``peek_user`` does not load a lazy user; ``current_user`` does."""
    request = request_of(SimpleLazyObject(lambda: ADA))
    assert peek_user(request) is empty
    assert current_user(request) is ADA
    assert peek_user(request) is ADA


async def test_lazy_user_of_another_middleware() -> None:
    """A JWT middleware's lazy user is the user in both twins, not the session's beside it."""

    async def session_user() -> User:
        return ADA

    def request_with_both() -> HttpRequest:
        request = request_of(SimpleLazyObject(lambda: TOKEN_USER))
        request.auser = session_user
        request._cached_user = ADA  # type: ignore[attr-defined]
        return request

    assert peek_user(request_with_both()) is empty
    assert await acurrent_user(request_with_both()) is TOKEN_USER
    assert current_user(request_with_both()) is TOKEN_USER


@pytest.mark.parametrize("kept", ["_cached_user", "_acached_user"])
async def test_session_user_that_was_loaded_before(kept: str) -> None:
    """A user that Django loaded for the sync or the async twin is used by both."""
    request = request_with_session()
    setattr(request, kept, ADA)
    assert peek_user(request) is current_user(request) is await acurrent_user(request) is ADA


@pytest.mark.django_db(transaction=True)
async def test_session_user_is_loaded_without_blocking() -> None:
    """The async twin asks `auser`, which Django keeps for the view."""
    request = request_with_session(await User.objects.acreate_user("ada"))
    assert peek_user(request) is empty
    assert (await acurrent_user(request)).username == "ada"
    assert peek_user(request) is await request.auser()


@pytest.mark.django_db
def test_session_user_is_loaded() -> None:
    """The sync twin loads `request.user`."""
    request = request_with_session(User.objects.create_user("ada"))
    assert current_user(request).username == "ada"
    assert type(current_user(request)) is User


def test_contexts_are_equal_by_value() -> None:
    """Contexts are compared without their requests."""
    given = SimpleNamespace()
    first = LookupContext(LookupUser("7"), "acme", request=given)  # type: ignore[arg-type]
    assert first == LookupContext(LookupUser("7"), "acme")


def test_metadata_is_a_value() -> None:
    """Metadata can be pickled for a job, and holds nothing else of its request."""
    request = request_of(HTTP_AUTHORIZATION="Bearer sk-live", REMOTE_ADDR="10.0.0.1")
    metadata = RequestMetadata.from_request(request)
    sent = pickle.dumps(metadata)
    assert b"sk-live" not in sent
    assert pickle.loads(sent) == copy.deepcopy(metadata) == metadata
    assert metadata.request_id == metadata.request_id


def test_contexts_that_are_equal_have_one_hash() -> None:
    """Equal contexts have equal hashes, so they can be keys."""
    first, second = (LookupContext(LookupUser("7"), "acme") for _ in range(2))
    assert {first: 1}[second] == 1


def test_metadata_of_a_request_is_the_same_each_time() -> None:
    """The log, the Config Service and the answer have the same request id, under DRF too."""
    request = request_of()
    metadata = RequestMetadata.from_request(request)
    context = LookupContext(LookupUser("7"), request=request)
    wrapped: Any = SimpleNamespace(_request=request)
    assert RequestMetadata.from_request(wrapped) is metadata
    assert context.with_metadata().request_metadata is metadata
    assert LookupContext.from_request(request, user=LookupUser("7")).request_metadata is metadata


def test_metadata_may_be_given() -> None:
    """Metadata may be given, for example for a job that continues a request."""
    given = RequestMetadata(request_id="r-1")
    context = LookupContext.from_request(request_of(), user=LookupUser("7"), request_metadata=given)
    assert context.request_metadata is given
    assert context.with_metadata() is context


def test_metadata_without_a_request() -> None:
    """A context without a request has no metadata unless it is given."""
    context = LookupContext(LookupUser("7"))
    assert context.with_metadata() is context
