from __future__ import annotations

import copy
import pickle

import pytest
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404

from instance_lookup.exceptions import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
    LookupErrorType,
    MissBudgetSpent,
    RateLimitExceeded,
    RateLimitUnavailable,
    forget_locals,
)
from tests.support.canary import CANARY, chain, places

TREE: list[tuple[type[InstanceLookupError], type[Exception], str, int]] = [
    (InvalidContext, BadRequest, "INVALID_CONTEXT", 400),
    (AccessDenied, PermissionDenied, "ACCESS_DENIED", 403),
    (InstanceBlocked, AccessDenied, "ACCESS_DENIED", 403),
    (InstanceNotFound, Http404, "INSTANCE_NOT_FOUND", 404),
    (ConfigServiceUnavailable, InstanceLookupError, "CONFIG_SERVICE_UNAVAILABLE", 503),
    (MissBudgetSpent, ConfigServiceUnavailable, "MISS_BUDGET_SPENT", 429),
    (RateLimitExceeded, InstanceLookupError, "RATE_LIMIT_EXCEEDED", 429),
    (RateLimitUnavailable, InstanceLookupError, "RATE_LIMIT_UNAVAILABLE", 503),
    (CacheError, InstanceLookupError, "CACHE_ERROR", 500),
]
ERRORS = [row[0] for row in TREE]


@pytest.mark.parametrize(("error", "base", "type_", "status"), TREE)
def test_error_is_what_django_expects(
    error: type[InstanceLookupError], base: type[Exception], type_: str, status: int
) -> None:
    """Each error is the Django exception that gives the right response when it is not caught."""
    exc = error("Instance 'acme' is gone.")
    assert isinstance(exc, InstanceLookupError)
    assert isinstance(exc, base)
    assert (exc.type, exc.status_code) == (LookupErrorType(type_), status)


@pytest.mark.parametrize("error", ERRORS)
def test_error_args_are_the_message(error: type[InstanceLookupError]) -> None:
    """An error has its message as its only argument: DRF fails on a Http404 with three."""
    exc = error("Instance 'acme' is gone.", instance_id="acme", reason="x")
    assert exc.args == ("Instance 'acme' is gone.",)
    assert str(exc) == "Instance 'acme' is gone."
    assert exc.details == {"instance_id": "acme", "reason": "x"}


@pytest.mark.parametrize("error", ERRORS)
def test_error_names_its_instance(error: type[InstanceLookupError]) -> None:
    """An error has the id of its instance, or `None` where no instance was named."""
    assert error("x", instance_id="acme").instance_id == "acme"
    assert error("x").instance_id is None


@pytest.mark.parametrize("error", ERRORS)
def test_error_survives_pickle_and_copy(error: type[InstanceLookupError]) -> None:
    """A Celery worker hands its exceptions over pickled."""
    for again in (
        pickle.loads(pickle.dumps(error("gone", instance_id="acme"))),
        copy.copy(error("gone", instance_id="acme")),
    ):
        assert (type(again), again.args, again.instance_id) == (error, ("gone",), "acme")


def test_unavailable_says_when_to_ask_again() -> None:
    """`retry_after` is an attribute of its own, and no detail."""
    exc = ConfigServiceUnavailable("down", retry_after=12.5, reason="timeout")
    assert (exc.retry_after, exc.details) == (12.5, {"reason": "timeout"})
    assert ConfigServiceUnavailable("down").retry_after is None


def test_error_types_are_their_strings() -> None:
    """Programs compare `type` with the documented strings."""
    assert {type_: str(type_) for type_ in LookupErrorType} == {row[0].type: row[2] for row in TREE}


def fail_with_the_key(error: Exception, cause: Exception | None = None) -> None:
    document = {"api_keys": [CANARY]}
    assert document
    raise error from cause


def error_with_everything_behind_it() -> BaseException:
    """An error with a cause, a part of a group whose context is suppressed, and a circle."""
    with pytest.raises(ValueError, match="the cause") as cause:
        fail_with_the_key(ValueError("the cause"))
    with pytest.raises(KeyError) as part:
        fail_with_the_key(KeyError("a part"))
    group = ExceptionGroup("a group", [part.value])
    with pytest.raises(ExceptionGroup) as caught:
        fail_with_the_key(group, cause.value)
    cause.value.__context__ = group
    return caught.value


def test_forget_locals_of_the_whole_chain() -> None:
    """An error tracker that follows the whole chain finds lines of code and no values."""
    error = error_with_everything_behind_it()
    assert len(list(chain(error))) == 3
    assert len(places(error)) == 3
    forget_locals(error)
    assert places(error) == []
    assert all(one.__traceback__ is not None for one in chain(error))


def test_forget_locals_leaves_frames_that_run() -> None:
    """Frames that still run, those of the caller, keep their variables."""
    mine = "in use"
    with pytest.raises(ValueError, match="of mine") as caught:
        fail_with_the_key(ValueError("of mine"))
    forget_locals(caught.value)
    assert (mine, places(caught.value)) == ("in use", [])
