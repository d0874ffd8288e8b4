"""With ``CONCEAL_DENIED`` a stranger cannot tell another's tenant from one that does not exist."""

from __future__ import annotations

import logging
from itertools import product
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup.access import HasFeature, IsOwner
from instance_lookup.testing import FakeConfigService
from tests.support.concealment import (
    BUDGET,
    CASES,
    PLOTS,
    SHOP,
    TENANT,
    VIEWS,
    Ask,
    Asked,
    BesideOwn,
    ByInstance,
    ByProject,
    ByRightPair,
    Plot,
    Stage,
    State,
    ask_first,
    fresh,
    name_of,
    refused,
    refused_fresh,
    uncached,
)
from tests.support.doors import BROWSER, Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.urls("tests.support.concealment")

CACHES = ["locmem", pytest.param("redis", marks=pytest.mark.extras)]
FULL = pytest.mark.full


def cases() -> list[Any]:
    """Return each case with each plot; one is unmarked, on either cache, the others ``full``."""
    found = []
    for (c, (ask, state)), (p, plot) in product(enumerate(CASES), enumerate(PLOTS)):
        turn = (c + p) % len(PLOTS)
        for which, (cache, needed) in enumerate((("locmem", []), ("redis", [pytest.mark.extras]))):
            marks = needed if turn == which == c % 2 else [*needed, FULL]
            found.append(pytest.param(cache, ask, state, plot, marks=marks))
    return found


def views() -> list[Any]:
    """Return each view with each client; asked a third unmarked, the others marked ``full``."""
    questions = {
        f"{ask.__name__}-{reader}": (accept, ask)
        for reader, accept in (("program", "*/*"), ("browser", BROWSER))
        for ask in (ByInstance, ByRightPair, BesideOwn)
    }
    return [
        pytest.param(
            *("locmem", view, *questions[asked], is_async),
            id=f"{view}-{asked}-{'asgi' if is_async else 'wsgi'}",
            marks=[] if (v + a + is_async) % 3 == 0 else [FULL],
        )
        for (v, view), (a, asked), is_async in product(
            enumerate(VIEWS), enumerate(questions), [False, True]
        )
    ]


@pytest.fixture(params=CACHES)
def stage(
    request: pytest.FixtureRequest, db: None, caplog: pytest.LogCaptureFixture
) -> Iterator[Stage]:
    caplog.set_level(logging.DEBUG, "instance_lookup")
    url = request.getfixturevalue("redis_server").url() if request.param == "redis" else None
    owner, stranger = (User.objects.create_user(name) for name in ("olga", "sam"))
    with FakeConfigService() as service:
        yield Stage(caplog, service, owner, stranger, redis_url=url)


@pytest.mark.parametrize(
    ("stage", "ask", "state", "plot"),
    cases(),
    indirect=["stage"],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_denied_reads_like_unknown(stage: Stage, state: State, plot: Plot, ask: type[Ask]) -> None:
    """A stranger gets the same answers for a tenant's id and for an unknown one, in each state."""
    is_async = stage.redis_url is not None
    known, unknown = stage.both(
        state, plot, ask, "arequired" if is_async else "plain", is_async=is_async
    )
    assert known == unknown


@pytest.mark.parametrize(
    ("stage", "view", "accept", "ask", "is_async"), views(), indirect=["stage"]
)
def test_in_each_kind_of_view(
    *, stage: Stage, view: str, ask: type[Ask], accept: str, is_async: bool
) -> None:
    """Sync or async, of a function or a class, as a problem or as a page."""
    known, unknown = stage.both(fresh, ask_first, ask, view, is_async=is_async, accept=accept)
    assert known == unknown


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
@pytest.mark.parametrize("ask", [ByInstance, ByProject], ids=name_of)
def test_budget_of_a_stranger(stage: Stage, ask: type[Ask]) -> None:
    """Another user's id and an unknown id cost the same; with the budget spent both get 429."""
    with stage.world("plain") as world:
        fresh(world)
        asked = [ask.KNOWN, ask.UNKNOWN, ask.KNOWN, ask.UNKNOWN, ask.of("made-up")]
        assert [world.ask(each) for each in asked] == [404] * 5  # told again: that is free
        asked = [ask.KNOWN, ask.UNKNOWN, ask.of("made-up"), ask.of("another")]
        calls = len(world.service.requests)
        assert [world.ask(each) for each in asked] == [429] * 4
        assert len(world.service.requests) == calls
        assert len({str(seen) for seen in world.seen[5:7]}) == 1


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
def test_scan_of_many_ids(stage: Stage) -> None:
    """A scan of many ids finds no tenant, though the budget is spent."""
    with stage.world("plain") as world:
        fresh(world)
        world.spend(ByInstance)
        answers = {world.ask(Asked(f"tenant-{letter}")) for letter in ascii_lowercase}
        assert answers == {429}


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
def test_owner_is_served_whatever_strangers_do(stage: Stage) -> None:
    """A stranger's lookup does not drop the owner's copy, which is served in an outage."""
    with stage.world("plain") as world:
        fresh(world)
        assert world.ask(Asked(TENANT)) == 404
        world.service.fail(500)
        world.clock.now += 60
        assert world.ask(Asked(TENANT)) == 503
        owner = Caller(is_async=False).login(stage.owner)
        assert owner("plain", TENANT).status_code == 200
        assert owner("plain", x_project_id=SHOP).status_code == 200


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
@pytest.mark.parametrize("plot", PLOTS, ids=name_of)
@pytest.mark.parametrize("state", [uncached, fresh, refused_fresh], ids=name_of)
def test_anonymous_stranger(stage: Stage, state: State, plot: Plot) -> None:
    """With ALLOW_ANONYMOUS an anonymous caller learns no more than a stranger."""
    stage.options = {
        "ALLOW_ANONYMOUS": True,
        "ACCESS_POLICY": IsOwner() | HasFeature("public"),
    }
    known, unknown = stage.both(state, plot, ByInstance, "plain", logs_in=False)
    assert known == unknown


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
@pytest.mark.parametrize("plot", PLOTS, ids=name_of)
def test_refused_by_the_service_alone(stage: Stage, plot: Plot) -> None:
    """Where the policy lets all in and the service refuses, its 403 tells no more than a 404."""
    stage.options = {"ACCESS_POLICY": IsOwner() | ~IsOwner()}
    known, unknown = stage.both(refused, plot, ByInstance, "plain")
    assert known == unknown
    known, unknown = stage.both(refused, plot, ByProject, "plain")
    assert known == unknown


@pytest.mark.parametrize("stage", ["locmem"], indirect=True)
def test_without_concealment(stage: Stage) -> None:
    """Without CONCEAL_DENIED a denial is a 403 without a call, and costs no budget."""
    stage.options = {"CONCEAL_DENIED": False}
    with stage.world("plain") as world:
        fresh(world)
        calls = len(world.service.requests)
        assert {world.ask(Asked(TENANT)) for _ in range(2 * BUDGET)} == {403}
        assert len(world.service.requests) == calls
        assert world.spend(ByInstance) == BUDGET
        assert world.ask(Asked(TENANT)) == 403
