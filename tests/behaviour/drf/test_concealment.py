"""With ``CONCEAL_DENIED`` an API tells strangers nothing, with each exception handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup.access import HasFeature, IsOwner
from instance_lookup.testing import FakeConfigService
from tests.behaviour.drf import urls
from tests.support.concealment import (
    BUDGET,
    PLOTS,
    Ask,
    BesideOwn,
    ByInstance,
    ByProject,
    ByRightPair,
    Plot,
    Stage,
    State,
    ask_first,
    fresh,
    in_projects,
    name_of,
    uncached,
)
from tests.support.doors import BROWSER, CALLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

VIEWS = ("api", "open", "session_first", "owners_api")
urlpatterns = [*urls.urlpatterns, *in_projects(urls.urlpatterns, VIEWS)]

pytestmark = pytest.mark.urls("tests.behaviour.drf.test_concealment")

OURS = {"EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler"}
HANDLERS: dict[str, dict[str, str]] = {"default": {}, "ours": OURS}
TOKEN: dict[str, Any] = {"logs_in": False, "authorization": "Token sam"}


@pytest.fixture(params=[*HANDLERS.values()], ids=[*HANDLERS])
def stage(
    request: pytest.FixtureRequest, db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> Iterator[Stage]:
    settings.REST_FRAMEWORK = request.param
    owner, stranger = (User.objects.create_user(name) for name in ("olga", "sam"))
    with FakeConfigService() as service:
        yield Stage(caplog, service, owner, stranger, name=str(request.param))


def cases() -> list[Any]:
    """Return each case with each handler; every second one is marked ``full``."""
    states, asks = (fresh, uncached), (ByInstance, ByProject, ByRightPair, BesideOwn)
    return [
        pytest.param(
            *(HANDLERS[name], state, ask, view),
            id=f"{state.__name__}-{ask.__name__}-{view}-{name}",
            marks=[] if (h + s + a + v) % 2 == 0 else [pytest.mark.full],
        )
        for h, name in enumerate(HANDLERS)
        for s, state in enumerate(states)
        for a, ask in enumerate(asks)
        for v, view in enumerate(VIEWS)
    ]


@pytest.mark.parametrize(("stage", "state", "ask", "view"), cases(), indirect=["stage"])
def test_denied_reads_like_unknown(stage: Stage, state: State, ask: type[Ask], view: str) -> None:
    """A denied instance reads like an unknown one when DRF authenticates the user in the view."""
    known, unknown = stage.both(state, ask_first, ask, view, **TOKEN)
    assert known == unknown


@pytest.mark.parametrize("view", ["api", "open"])
@pytest.mark.parametrize("plot", PLOTS, ids=name_of)
def test_in_the_browsable_api(stage: Stage, plot: Plot, view: str) -> None:
    """The browsable page and its forms show no more to a stranger than for an unknown id."""
    known, unknown = stage.both(fresh, plot, ByInstance, view, is_async=True, accept=BROWSER)
    assert known == unknown


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("sent", [{}, {"authorization": "Token nobody"}], ids=["none", "wrong"])
def test_who_is_not_logged_in(stage: Stage, sent: dict[str, str], is_async: bool) -> None:
    """Anonymous users get 401 for each id that they name."""
    how: dict[str, Any] = {"logs_in": False, "is_async": is_async, **sent}
    with stage.world("api", **how) as world:
        fresh(world)
        asked = [ask for each in (ByInstance, ByRightPair) for ask in (each.KNOWN, each.UNKNOWN)]
        assert [world.ask(each) for each in asked * BUDGET] == [401] * 4 * BUDGET
        assert len({str(seen) for seen in world.seen[:2]}) == 1


@pytest.mark.parametrize("plot", PLOTS, ids=name_of)
def test_anonymous_stranger(stage: Stage, plot: Plot) -> None:
    """With ALLOW_ANONYMOUS an anonymous caller learns no more than a stranger."""
    stage.options = {"ALLOW_ANONYMOUS": True, "ACCESS_POLICY": IsOwner() | HasFeature("public")}
    known, unknown = stage.both(fresh, plot, ByInstance, "open", logs_in=False)
    assert known == unknown
