from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.test import RequestFactory

from instance_lookup import AccessDenied, InstanceConfig, LookupResult, LookupUser, Source
from instance_lookup.access import IsAdmin
from instance_lookup.request.attributes import lookup_for
from tests.support.doors import CALLERS, SAM, Caller, lookups, serve

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from instance_lookup.backends.memory import DictConfigService


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("path", ["thrice", "athrice"])
def test_result_is_looked_up_once_a_request(
    users: dict[str, User], path: str, is_async: bool
) -> None:
    """A view that uses the instance several times causes one lookup."""
    response = Caller(is_async=is_async).login(users["olga"])(path, "acme")

    assert response.content == b"acme"
    assert lookups() == 1


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("path", ["thrice", "athrice"])
def test_error_is_looked_up_once_a_request(
    users: dict[str, User], path: str, is_async: bool
) -> None:
    """A view that meets the error several times causes one lookup."""
    response = Caller(is_async=is_async).login(users["sam"])(path, "acme")

    assert response.status_code == 403
    assert lookups() == 1


def test_error_raised_again_does_not_grow(request_: Any) -> None:
    """The traceback of a kept error does not grow when it is raised again."""
    request_.user = SAM

    def depth() -> int:
        with pytest.raises(AccessDenied) as caught:
            lookup_for(request_).get()
        return len(caught.traceback)

    depth()
    assert depth() == depth()


@pytest.mark.parametrize("twin", ["instance_config", "ainstance_config"])
def test_attribute_error_inside_becomes_a_runtime_error(
    request_: Any, settings: Any, twin: str
) -> None:
    """An AttributeError inside a lookup becomes a RuntimeError: DRF would hide it."""
    calls: list[object] = []

    def user_context(user: Any, request: Any = None) -> LookupUser:
        calls.append(user)
        raise AttributeError("no such thing")

    serve(settings, USER_CONTEXT=user_context)
    for _ in range(3):
        touch: Any = {
            "instance_config": lambda: request_.instance_config.instance_id,
            "ainstance_config": async_to_sync(request_.ainstance_config),
        }[twin]
        with pytest.raises(RuntimeError, match="no such thing") as caught:
            touch()
        assert isinstance(caught.value.__cause__, AttributeError)

    assert len(calls) == 1


async def test_attribute_touched_in_the_loop_names_the_twin(request_: Any) -> None:
    """A read of the attribute in an event loop raises, and the error names the twin."""
    with pytest.raises(SynchronousOnlyOperation, match=r"await request\.ainstance_config\(\)"):
        str(request_.instance_config.instance_id)
    with pytest.raises(SynchronousOnlyOperation, match=r"await request\.ainstance_config\(\)"):
        str(request_.instance_lookup.source)


async def test_lookup_in_the_loop_names_the_twin(request_: Any) -> None:
    """A lookup in the event loop raises, and the error names the async twin to use."""
    with pytest.raises(SynchronousOnlyOperation, match=r"await request\.ainstance_config\(\)"):
        lookup_for(request_).get()


async def test_refusal_in_the_loop_is_not_kept(request_: Any) -> None:
    """After a refused lookup in the event loop the async twin still works."""
    with pytest.raises(SynchronousOnlyOperation):
        lookup_for(request_).get()

    assert (await request_.ainstance_config()).instance_id == "acme"
    assert request_.instance_config.instance_id == "acme"


async def test_error_after_the_await_is_raised_by_the_attribute(request_: Any) -> None:
    """After ``await ainstance_config()`` the plain attribute raises the same error."""
    request_.user = SAM
    with pytest.raises(AccessDenied):
        await request_.ainstance_config()

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


def test_unawaited_touch_in_a_view_is_a_server_error(users: dict[str, User]) -> None:
    """A view that forgets the await gets a 500: it is an error in the view."""
    response = Caller(is_async=True).login(users["olga"])("unawaited", "acme")

    assert response.status_code == 500


@pytest.mark.parametrize("is_async", CALLERS)
def test_sync_and_async_share_one_result(users: dict[str, User], is_async: bool) -> None:
    """Sync and async code of one request share one lookup, though Django loads the user twice."""
    response = Caller(is_async=is_async).login(users["olga"])("shared", "acme")

    assert response.content == b"acme service service"
    assert lookups() == 1


def test_repr_does_no_io(request_: Any) -> None:
    """``repr`` does no I/O: debuggers and error pages call it."""
    shown = repr(request_.instance_config), repr(request_.instance_lookup)

    assert shown == (
        "<LazyLookup of request.instance_config>",
        "<LazyLookup of request.instance_lookup>",
    )
    assert lookups() == 0


def test_lazy_attributes_pass_for_what_they_stand_for(request_: Any) -> None:
    """``isinstance``, equality and immutability of a lazy attribute are those of its value."""
    with pytest.raises(AttributeError, match="immutable"):
        request_.instance_config.r2_bucket = "mine"
    assert isinstance(request_.instance_config, InstanceConfig)
    assert isinstance(request_.instance_lookup, LookupResult)
    assert request_.instance_config == request_.instance_lookup.config
    assert request_.instance_lookup.source is Source.SERVICE


@pytest.mark.parametrize("name", ["instance_config", "instance_lookup"])
def test_pickling_a_lazy_attribute_fails(request_: Any, name: str) -> None:
    """A lazy attribute cannot be pickled: the pickle would hold the keys."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(getattr(request_, name))


def test_copies_are_the_config_itself(request_: Any) -> None:
    """A copy is of the value, not of the request's lookup."""
    config = request_.instance_lookup.config

    assert copy.copy(request_.instance_config) is config
    assert copy.deepcopy(request_.instance_config) is config


def test_request_without_middleware_gets_the_lookup_on_demand(service: DictConfigService) -> None:
    """``APIRequestFactory`` and the like make bare requests."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})

    lookup = lookup_for(request)

    assert lookup_for(request) is lookup
    with pytest.raises(AccessDenied):  # a request without a user is anonymous
        str(request.instance_config.instance_id)


def test_nobody_is_allowed_anything_before_a_lookup(request_: Any) -> None:
    """Before a lookup there is no user that a policy could be asked about."""
    config = InstanceConfig(instance_id="acme")

    assert not lookup_for(request_).allows(IsAdmin(), config)
