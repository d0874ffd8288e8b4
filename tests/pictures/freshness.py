"""The state of an entry over time, and what a request gets from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.pictures.ages import AHEAD, DEFAULTS, STALE_MAX_AGE, TTL, Got, Health, got, intervals
from tests.pictures.drawing import Picture

if TYPE_CHECKING:
    from tests.pictures.ages import Interval

_LEFT, _TOP = 165, 56
_WIDTHS = {"fresh": 150, "refresh ahead": 195, "stale": 195, "gone": 195}
_LOOKS = {
    "fresh": ("good",),
    "refresh ahead": ("good", "hatch"),
    "stale": ("warn", "dots"),
    "gone": ("plain",),
}
_NAMES = {
    AHEAD: "REFRESH_AHEAD × CACHE_TTL",
    TTL: "CACHE_TTL",
    STALE_MAX_AGE: "STALE_MAX_AGE",
}
_STATE, _AXIS, _ROW = 44, 60, 74
_SECONDS = {
    "SOFT_TIMEOUT": DEFAULTS.soft_timeout,
    "CONFIG_SERVICE_TIMEOUT": DEFAULTS.config_service_timeout,
}
_KINDS = {"cache": "good", "service": "good", "stale_cache": "warn"}


def draw() -> str:
    """Return the picture as SVG."""
    states = intervals()
    columns = _columns(states)
    answers = {(state, health): got(state, health) for health in Health for state in states}
    height = _TOP + _STATE + _AXIS + _ROW * len(Health) + 44
    picture = Picture(
        _LEFT + sum(_WIDTHS.values()) + 20,
        height,
        "An entry over time, and what a request gets from it",
        _description(answers),
    )
    picture.words(20, _TOP + 27, "State of the entry", "head")
    picture.words(20, _TOP + _STATE + 20, "Age", "head")
    for state in states:
        x, width = columns[state], _WIDTHS[state.name]
        for look in _LOOKS[state.name]:
            picture.box(x, _TOP, width, _STATE, look)
        middle, room = x + width / 2, 9 * len(state.name)
        if len(_LOOKS[state.name]) > 1:  # the name is not written on the pattern
            picture.box(middle - room / 2, _TOP + 11, room, 23, _LOOKS[state.name][0], rx=4)
        picture.words(middle, _TOP + 27, state.name, "head", "middle")
        picture.line([(x, _TOP + _STATE), (x, _TOP + _STATE + 8)])
        picture.words(x, _TOP + _STATE + 23, f"{state.begin:g} s", "", "middle")
        picture.words(x, _TOP + _STATE + 40, _NAMES.get(state.begin, ""), "code", "middle")
    for row, health in enumerate(Health):
        y = _TOP + _STATE + _AXIS + row * _ROW
        picture.words(20, y + 24, "The service", "head")
        picture.words(20, y + 41, health.value, "head")
        for state in states:
            _cell(picture, columns[state], y, _WIDTHS[state.name], answers[state, health])
    picture.words(
        20,
        height - 20,
        "Ages are not to scale. Times are the defaults of the settings. An entry that is"
        " invalidated is gone at once, at any age.",
        "faint",
    )
    return picture.render()


def _columns(states: list[Interval]) -> dict[Interval, int]:
    """Return where each state begins."""
    found, x = {}, _LEFT
    for state in states:
        found[state] = x
        x += _WIDTHS[state.name]
    return found


def _cell(picture: Picture, x: float, y: float, width: float, answer: Got) -> None:
    picture.box(x, y, width, _ROW - 6, _KINDS.get(answer.answer, "bad"))
    first, *others = _words(answer)
    picture.words(x + 10, y + 21, first, "head")
    for number, words in enumerate(others):
        kind = "code" if words in _SECONDS else ""
        picture.words(x + 10, y + 39 + 17 * number, words, kind)


def _words(answer: Got) -> list[str]:
    """Say what a request gets: the source or the status first, then when and at what cost."""
    named = "503" if answer.answer == "ConfigServiceUnavailable" else answer.answer
    if answer.waited:
        return [named, f"after {_SECONDS[answer.waited]:g} s at most:", answer.waited]
    if answer.answer == "cache":
        behind = "one call in the background" if answer.calls else "no call"
        return [named, "at once", behind]
    if answer.answer == "service":
        return [named, "the new document", "one call"]
    # After a failure others leave it alone for a while, if they have a copy.
    cost = "one call" if answer.more else f"one call in {DEFAULTS.retry_interval:g} s"
    return [named, "when the call has failed", cost]


def _description(answers: dict[tuple[Interval, Health], Got]) -> str:
    """Say in words what the picture shows."""
    said = []
    for (state, health), answer in answers.items():
        first, *others = _words(answer)
        said.append(
            f"{state.name}, from {state.begin:g} s on, the service {health.value}: {first}"
            f" ({', '.join(others)})"
        )
    return "; ".join(said) + "."
