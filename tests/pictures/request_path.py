"""The path of a request: the steps that it takes, where it can leave, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup import AccessDenied, ConfigServiceUnavailable, get_resolver
from tests.pictures.ages import TTL, store
from tests.pictures.drawing import Picture
from tests.pictures.route import STEPS, Route, Site, record

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOP, _ROW, _BOX = 106, 52, 42
_COLUMNS = (350, 440, 530, 620)
_EXITS = 680
_WIDTH = 940
_LAST = len(STEPS)
"""The place of the view, to which the request comes back."""


def draw() -> str:
    """Return the picture as SVG."""
    record()
    with Site("acme").running() as site:
        routes, exits = _routes(site), _exits(site)
    foot = _TOP + _ROW * (_LAST + 1)
    picture = Picture(_WIDTH, foot + 110, "The path of a request", _description(routes, exits))
    for place, step in enumerate(STEPS):
        _box(picture, place, f"{place + 1}. {step.name}", step.about)
    _box(picture, _LAST, f"{_LAST + 1}. The view goes on", "with the configuration")
    for x, (name, route) in zip(_COLUMNS, routes.items(), strict=True):
        for row, words in enumerate(name.split(", ")):
            picture.words(x, 72 + 17 * row, words, "faint" if row else "head", "middle")
        places = [*route.steps, _LAST]
        assert places == sorted(places)
        picture.line([(x, _middle(place)) for place in places], "way")
        for place in places:
            picture.stop(x, _middle(place))
        figures = (route.answer, str(route.cache), str(route.calls))
        for row, figure in enumerate(figures):
            picture.words(x, foot + 24 + 26 * row, figure, "" if row else "code", "middle")
    for row, name in enumerate(("Source", "Commands to the cache", "Calls of the Config Service")):
        picture.line([(20, foot + 6 + 26 * row), (_EXITS - 20, foot + 6 + 26 * row)])
        picture.words(20, foot + 24 + 26 * row, name, "head")
    picture.words(_EXITS, 72, "It can leave here", "head")
    for place in range(_LAST):
        leaving = [(why, route) for why, route in exits.items() if route.steps[-1] == place]
        y = _middle(place) + 5 - 9 * (len(leaving) - 1)
        for row, (why, route) in enumerate(leaving):
            picture.words(_EXITS, y + 18 * row, f"→ {route.status}", "head")
            picture.words(_EXITS + 50, y + 18 * row, why)
    return picture.render()


def _routes(site: Site) -> Mapping[str, Route]:
    """Return the ways of requests that get a configuration."""
    missed, shared, near = site.ask(), site.ask(), site.ask()
    store(get_resolver(), TTL + 60)
    site.service.failure = ConfigServiceUnavailable("down")
    stale = site.ask()
    site.service.failure = None
    return {
        "Memory, has it": near,
        "Cache, has it": shared,
        "Service, is asked": missed,
        "Stale copy, service down": stale,
    }


def _exits(site: Site) -> Mapping[str, Route]:
    """Return the ways of requests that get none, by the reason."""
    found = {
        "the caller is anonymous": site.ask(user=None),
        "no instance is named": site.ask(""),
        "the policy says no": site.ask(user="2"),
        "it does not exist": site.ask("unknown"),
    }
    site.service.failure = AccessDenied("no")
    found["the service says no"] = site.ask("new")
    site.service.failure = ConfigServiceUnavailable("down")
    return found | {"no answer, and no copy": site.ask("newer")}


def _middle(place: int) -> float:
    return _TOP + _ROW * place + _BOX / 2


def _box(picture: Picture, place: int, name: str, about: str) -> None:
    y = _TOP + _ROW * place
    picture.box(20, y, 270, _BOX, "soft", rx=5)
    picture.words(32, y + 18, name, "head")
    picture.words(32, y + 34, about, "faint")


def _description(routes: Mapping[str, Route], exits: Mapping[str, Route]) -> str:
    """Say in words what the picture shows."""
    said = [f"Steps: {', '.join(step.name for step in STEPS)}, the view goes on."]
    for name, route in routes.items():
        passed = ", ".join(STEPS[place].name for place in route.steps)
        said.append(
            f"{name}: {passed}; source {route.answer}, {route.cache} commands to the cache,"
            f" {route.calls} calls of the Config Service."
        )
    for why, route in exits.items():
        said.append(f"{route.status} after {STEPS[route.steps[-1]].name}: {why}.")
    return " ".join(said)
