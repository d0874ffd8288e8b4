"""Plain views, sync and async, that an instance may call as often as its configuration says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup.throttling import instance_throttled
from tests.support.doors import BROWSER, CALLERS, NO_STORE, PROBLEM, Caller, owned_by

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService
    from tests.support.throttles import ServerClock

pytestmark = pytest.mark.urls("tests.behaviour.throttling.views")
BOTH = pytest.mark.parametrize("is_async", CALLERS)
VIEWS = ["render", "arender", "dispatched", "adispatched", "one_method"]


def statuses(caller: Caller, path: str, calls: int, instance: str = "acme") -> list[int]:
    return [caller(path, instance).status_code for _ in range(calls)]


@BOTH
@pytest.mark.parametrize("path", VIEWS)
def test_view_runs_as_often_as_the_limit_says(
    olga: User, clock: ServerClock, path: str, *, is_async: bool
) -> None:
    caller = Caller(is_async=is_async).login(olga)
    assert caller(path, "acme").content == b"acme"
    assert statuses(caller, path, 3) == [200, 200, 429]
    assert statuses(caller, path, 1, "globex") == [200]  # two tenants do not share
    clock.now += 60
    assert statuses(caller, path, 1) == [200]


@BOTH
def test_all_views_of_one_limit_count_together(
    olga: User, clock: ServerClock, *, is_async: bool
) -> None:
    caller = Caller(is_async=is_async).login(olga)
    assert [caller(path, "acme").status_code for path in VIEWS] == [200, 200, 200, 429, 429]
    assert caller("one_method", "acme", method="post").content == b"posted"


@BOTH
@pytest.mark.parametrize("path", ["render", "arender"])
def test_refusal_says_when_to_come_back(
    olga: User, clock: ServerClock, path: str, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """As problem details, or as a page for a browser; Django logs no line for each."""
    caller = Caller(is_async=is_async).login(olga)
    clock.now += 20.5
    statuses(caller, path, 3)
    caplog.clear()
    response = caller(path, "acme", x_request_id="r-1")
    assert response.status_code == 429
    assert response.headers["Content-Type"] == PROBLEM
    assert response.headers["Retry-After"] == "40"
    assert response.headers["Cache-Control"] == NO_STORE
    assert json.loads(response.content) == {
        "type": "urn:instance-lookup:rate-limit-exceeded",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Calls are over the rate limit 'render' of instance 'acme'. The next one is let "
        "through in 40 s.",
        "instance_id": "acme",
        "request_id": "r-1",
    }
    page = caller(path, "acme", accept=BROWSER)
    assert (page.status_code, page.headers["Retry-After"]) == (429, "40")
    assert "<h1>Too Many Requests</h1>" in page.content.decode()
    assert caplog.records == []


@BOTH
def test_headers_are_on_every_answer(olga: User, clock: ServerClock, *, is_async: bool) -> None:
    """A page, a stream, an error of the view's own, a refusal."""
    caller = Caller(is_async=is_async).login(olga)
    clock.now += 20.5
    said = []
    for path in ("render", "missing", "stream_throttled", "render"):
        response = caller(path, "acme")
        assert response.headers["RateLimit-Policy"] == '"render";q=3;w=60'
        said.append((response.status_code, response.headers["RateLimit"]))
    assert said == [
        (200, '"render";r=2;t=40'),
        (404, '"render";r=1;t=40'),
        (200, '"render";r=0;t=40'),
        (429, '"render";r=0;t=40'),
    ]


def test_headers_of_several_limits(
    olga: User, service: DictConfigService, clock: ServerClock
) -> None:
    """A list each, in the form of structured fields (RFC 9651); one that is absent is left out."""
    caller = Caller(is_async=False).login(olga)
    assert caller("both", "acme").headers["RateLimit"] == '"render";r=2;t=60'
    limits = {"render": {"rpm": 60, "rpm_burst": 90, "daily": 100}, "upload": {"rpm": 600}}
    service.instances["many"] = owned_by(olga, instance_id="many", rate_limits=limits)
    response = caller("both", "many")
    policy, standing = response.headers["RateLimit-Policy"], response.headers["RateLimit"]
    assert policy == '"render";q=90;w=90, "render-daily";q=100;w=86400, "upload";q=600;w=60'
    assert standing == '"render";r=89;t=90, "render-daily";r=99;t=57600, "upload";r=599;t=60'
    member = r'"[a-z-]+";[qr]=\d+;[wt]=\d+'
    assert re.fullmatch(rf"{member}(, {member})*", policy)


@BOTH
@pytest.mark.parametrize("path", ["render", "arender", "adispatched"])
def test_lookup_that_fails_is_answered_and_not_counted(
    olga: User, service: DictConfigService, path: str, *, is_async: bool
) -> None:
    stranger = Caller(is_async=is_async).login(User.objects.create_user("sam"))
    for instance, status in [("acme", 403), ("gone", 404), (None, 400), ("a,b", 400)]:
        response = stranger(path, instance)
        assert (response.status_code, "RateLimit" in response.headers) == (status, False)
    assert statuses(Caller(is_async=is_async).login(olga), path, 4) == [200, 200, 200, 429]


@BOTH
def test_users_of_an_instance_share_its_limit(olga: User, *, is_async: bool) -> None:
    """Admins as well: it is the instance's limit. What a header says is not what counts."""
    admin = User.objects.create_superuser("ada")
    callers = [Caller(is_async=is_async).login(each) for each in (olga, admin)]
    assert [statuses(each, "render", 2) for each in callers] == [[200, 200], [200, 429]]


@BOTH
@pytest.mark.parametrize("path", ["render", "arender"])
def test_instance_without_the_limit_has_none(
    olga: User, service: DictConfigService, path: str, *, is_async: bool
) -> None:
    service.instances["free"] = owned_by(olga, instance_id="free", rate_limits={"x": {"rpm": 0}})
    caller = Caller(is_async=is_async).login(olga)
    response = caller(path, "free")
    assert (response.status_code, "RateLimit" in response.headers) == (200, False)


@BOTH
@pytest.mark.parametrize(
    ("limit", "wait", "standing"),
    [
        ({"rpm": 0}, "60", '"render";r=0;t=60'),
        ({"rpm": 0, "rpm_burst": 5}, "60", '"render";r=0;t=60'),
        ({"rpm": 5, "rpm_burst": 0}, "60", '"render";r=0;t=60'),
        ({"rpm": 5, "daily": 0}, "57600", '"render";r=5;t=0, "render-daily";r=0;t=57600'),
        ({"rpm": 0, "daily": 7}, "60", '"render";r=0;t=60, "render-daily";r=7;t=57600'),
    ],
)
def test_limit_of_nought_lets_nothing_through(
    olga: User,
    service: DictConfigService,
    clock: ServerClock,
    *,
    limit: dict[str, int],
    wait: str,
    standing: str,
    is_async: bool,
) -> None:
    limits = {"render": limit}
    service.instances["shut"] = owned_by(olga, instance_id="shut", rate_limits=limits)
    response = Caller(is_async=is_async).login(olga)("render", "shut")
    assert (response.status_code, response.headers["Retry-After"]) == (429, wait)
    assert response.headers["RateLimit"] == standing


def test_order_with_instance_required(olga: User) -> None:
    """What a stricter policy refuses is counted if the throttle stands above it."""
    caller = Caller(is_async=False).login(olga)
    assert statuses(caller, "admins", 2) == [403, 403]
    assert statuses(caller, "counted_first", 2) == [403, 403]
    assert statuses(caller, "render", 2) == [200, 429]


def test_streak_of_another_limit_is_its_own(
    olga: User, service: DictConfigService, clock: ServerClock
) -> None:
    limits = {"render": {"rpm": 9}, "upload": {"rpm": 1}}
    service.instances["many"] = owned_by(olga, instance_id="many", rate_limits=limits)
    caller = Caller(is_async=False).login(olga)
    assert statuses(caller, "both", 2, "many") == [200, 429]
    assert statuses(caller, "render", 1, "many") == [200]


@pytest.mark.parametrize("name", ["", 'a"b', "a\\b", "ä", "a\n"])
def test_name_that_no_header_can_say_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        instance_throttled(name)


def test_copied_request_tells_the_original(olga: User, rf: Any) -> None:
    """A view that hands a copy of its request on answers with the headers all the same."""
    from copy import copy

    from instance_lookup.request.attributes import attach
    from tests.behaviour.throttling import views

    request = rf.get("/", headers={"X-Instance-ID": "acme"})
    request.user = olga
    state = attach(request).state
    views.render(copy(request))
    assert state.limit_headers["RateLimit-Policy"] == '"render";q=3;w=60'
