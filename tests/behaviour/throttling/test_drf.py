"""Views of Django REST framework that an instance may call as often as its configuration says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.throttling import BaseThrottle

from instance_lookup import get_resolver, throttling
from instance_lookup.throttling import InstanceRateThrottle, instance_throttled
from tests.behaviour.throttling import api
from tests.support.doors import CALLERS, NO_STORE, PROBLEM, Caller, owned_by

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService
    from tests.support.throttles import ServerClock

pytestmark = pytest.mark.urls("tests.behaviour.throttling.api")
BOTH = pytest.mark.parametrize("is_async", CALLERS)
OURS = {"EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler"}


def asked(path: str, user: str = "olga", instance: str = "acme", *, is_async: bool = False) -> Any:
    return Caller(is_async=is_async)(path, instance, authorization=f"Token {user}")


@BOTH
@pytest.mark.parametrize("path", ["scoped", "named", "open", "method", "dispatched_api"])
def test_view_runs_as_often_as_the_limit_says(
    olga: User, clock: ServerClock, path: str, *, is_async: bool
) -> None:
    answers = [asked(path, is_async=is_async) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    said = [each.headers["RateLimit"] for each in answers]
    assert said == [f'"render";r={left};t=60' for left in (2, 1, 0, 0)]
    assert {each.headers["RateLimit-Policy"] for each in answers} == {'"render";q=3;w=60'}
    assert answers[-1].headers["Retry-After"] == "60"
    assert answers[-1].headers["Cache-Control"] == NO_STORE
    assert asked(path, instance="globex", is_async=is_async).status_code == 200


def test_function_view(olga: User, clock: ServerClock) -> None:
    """``@instance_throttled`` goes below ``@api_view``: DRF's user counts, here the session's."""
    caller = Caller(is_async=False).login(olga)
    assert [caller("function", "acme").status_code for _ in range(4)] == [200, 200, 200, 429]
    with pytest.raises(TypeError, match="below @api_view"):
        instance_throttled("render")(api.function)


@BOTH
def test_refusal_is_drfs_own(olga: User, clock: ServerClock, *, is_async: bool) -> None:
    refused = [asked("scoped", is_async=is_async) for _ in range(4)][-1]
    detail = "Request was throttled. Expected available in 60 seconds."
    assert refused.headers["Content-Type"] == "application/json"
    assert json.loads(refused.content) == {"detail": detail}


@BOTH
@pytest.mark.parametrize("path", ["scoped", "dispatched_api"])
def test_refusal_as_problem_details(
    olga: User, clock: ServerClock, settings: Any, path: str, *, is_async: bool
) -> None:
    settings.REST_FRAMEWORK = OURS
    refused = [asked(path, is_async=is_async) for _ in range(4)][-1]
    assert (refused.status_code, refused.headers["Content-Type"]) == (429, PROBLEM)
    assert refused.headers["Retry-After"] == "60"
    assert json.loads(refused.content)["type"] == "urn:instance-lookup:rate-limit-exceeded"


def test_refusal_of_another_throttle_stays_its_own(
    olga: User, clock: ServerClock, settings: Any
) -> None:
    settings.REST_FRAMEWORK = OURS
    for path in ("refused_by_another", "also_refused"):
        refused = asked(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
        assert "throttled" in json.loads(refused.content)["detail"]
    assert refused.headers["RateLimit"] == '"render";r=2;t=60'


@BOTH
def test_refused_call_does_not_count_for_the_next_limit(
    olga: User, service: DictConfigService, clock: ServerClock, *, is_async: bool
) -> None:
    """DRF asks all throttles of a view, also those after the one that refuses."""
    limits = {"render": {"rpm": 1}, "upload": {"rpm": 9}}
    service.instances["two"] = owned_by(olga, instance_id="two", rate_limits=limits)
    answers = [asked("both_api", instance="two", is_async=is_async) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 429, 429, 429]
    limits["render"]["rpm"] = 9
    get_resolver().invalidate_cache("two")
    left = asked("both_api", instance="two", is_async=is_async).headers["RateLimit"]
    assert '"upload";r=7;t=60' in left


@BOTH
def test_headers_are_on_errors_too(olga: User, clock: ServerClock, *, is_async: bool) -> None:
    response = asked("broken", is_async=is_async)
    assert (response.status_code, response.headers["RateLimit"]) == (503, '"render";r=2;t=60')


@BOTH
def test_user_of_drf_decides(olga: User, clock: ServerClock, *, is_async: bool) -> None:
    """Strangers and unknown callers are refused as ever, and nothing is counted for them."""
    User.objects.create_user("sam")
    stranger = asked("open", "sam", is_async=is_async)
    assert (stranger.status_code, "RateLimit" in stranger.headers) == (403, False)
    unknown = Caller(is_async=is_async)("open", "acme")
    assert (unknown.status_code, unknown.headers["WWW-Authenticate"]) == (401, "Token")
    assert asked("open", instance="gone", is_async=is_async).status_code == 404
    assert asked("open", is_async=is_async).headers["RateLimit"] == '"render";r=2;t=60'


def test_view_without_a_scope_has_no_limit(olga: User, service: DictConfigService) -> None:
    """So the class may stand among the throttles of all views. Nor has an instance without it."""
    assert "RateLimit" not in asked("unlimited").headers
    service.instances["free"] = owned_by(olga, instance_id="free")
    response = asked("scoped", instance="free")
    assert (response.status_code, "RateLimit" in response.headers) == (200, False)
    throttle = InstanceRateThrottle()
    assert throttle.wait() is None


def test_without_the_middleware(olga: User, clock: ServerClock) -> None:
    """``APIRequestFactory`` runs none: the headers are there all the same."""
    view = api.Scoped.as_view()
    answers = []
    for _ in range(4):
        request = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
        force_authenticate(request, olga)
        answers.append(view(request))
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["RateLimit"] == '"render";r=0;t=60'


@BOTH
def test_uncounted_call_gets_503(
    olga: User, settings: Any, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    """``THROTTLE_FAIL_OPEN = False``: the same answer as in a plain view."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "THROTTLE_FAIL_OPEN": False}
    monkeypatch.setattr("instance_lookup.throttling.counter.windows.count", _fails)
    response = asked("scoped", is_async=is_async)
    assert (response.status_code, response.headers["Content-Type"]) == (503, PROBLEM)
    assert response.headers["Retry-After"] == "5"


def _fails(*args: Any) -> None:
    raise OSError


def test_scope_that_no_header_can_say(olga: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.Scoped, "throttle_scope", 'a"b')
    request = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    force_authenticate(request, olga)
    with pytest.raises(ValueError, match="printable ASCII"):
        api.Scoped.as_view()(request)


def test_class_is_found_by_its_path(settings: Any, service: DictConfigService) -> None:
    from rest_framework.settings import api_settings

    path = "instance_lookup.throttling.InstanceRateThrottle"
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_CLASSES": [path]}
    found: Any = api_settings.DEFAULT_THROTTLE_CLASSES
    assert found == [InstanceRateThrottle]
    assert issubclass(throttling.InstanceRateThrottle, BaseThrottle)
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        throttling.Other  # noqa: B018


def test_limit_of_an_override(olga: User, clock: ServerClock) -> None:
    """A test of a site gives a limit, and no service is asked."""
    from instance_lookup.testing import override_instance_config

    with override_instance_config("tested", rate_limits={"render": {"rpm": 1}}):
        answers = [asked("scoped").status_code for _ in range(2)]
    assert answers == [200, 429]
