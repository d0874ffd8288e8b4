"""Which tests run: the options of ``pytest`` that select some of them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING
from zlib import crc32

from tests.selected import (
    COMPAT,
    EVERY_CASE,
    EXTRA_DIRECTORIES,
    EXTRAS,
    INTEGRATIONS,
    MANY_CASES,
    OLDEST,
    UNTRACED,
)
from tests.support.caches import REDIS_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bare",
        action="store_true",
        help="no extra is installed: leave out what needs one (modules that import it, tests of "
        "Redis, tests marked `extras`)",
    )
    parser.addoption(
        "--compat",
        action="store_true",
        help="run only what another version of Python or Django could break (see COMPAT)",
    )
    parser.addoption(
        "--oldest",
        action="store_true",
        help="run only what an older version of a dependency could break (see OLDEST), with each "
        "of them at its lower bound",
    )
    parser.addoption(
        "--traced",
        action="store_true",
        help="leave out what `--untraced` runs (see UNTRACED)",
    )
    parser.addoption(
        "--untraced",
        action="store_true",
        help="run only what takes long and reaches no branch that the others do not reach",
    )
    parser.addoption(
        "--full",
        action="store_true",
        help="run also what takes long and seldom finds more (tests marked `full`)",
    )
    parser.addoption(
        "--quick",
        action="store_true",
        help="of a test with many cases run every third (see MANY_CASES)",
    )
    parser.addoption(
        "--rest",
        action="store_true",
        help="run only what `--quick` leaves out: those cases, and the tests marked `full`",
    )
    parser.addoption(
        "--programs",
        action="store_true",
        help="run only what drives a program that it installs where it is missing: a browser, "
        "Prometheus (tests marked `programs`)",
    )
    parser.addoption(
        "--integrations",
        action="store_true",
        help="run only what needs the group `integrations`: tests/integrations",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    options, is_module = config.option, collection_path.match("test_*.py")
    ignored = (
        (options.compat and is_module and not is_among(COMPAT, collection_path))
        or (options.oldest and is_module and not is_among(OLDEST, collection_path))
        or (options.traced and is_module and is_among(UNTRACED, collection_path))
        or (options.untraced and is_module and not is_among(UNTRACED, collection_path))
        or (is_module and is_among(INTEGRATIONS, collection_path) != options.integrations)
        or (options.bare and collection_path in EXTRA_DIRECTORIES)
        or (options.bare and is_module and _needs_extra(collection_path))
    )
    # None, not False: other plugins have a say too.
    return ignored or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    options = config.option
    left_out = {item for item in items if _is_left_out(item)}
    if options.quick or options.rest:
        thinned = set(_thinned([item for item in items if item not in left_out]))
        left_out |= {
            item
            for item in items
            if (item in thinned if options.quick else item not in thinned and not _is_full(item))
        }
    if left_out:
        kept = set(items).difference(left_out)
        items[:] = [item for item in items if item in kept]
        config.hook.pytest_deselected(items=list(left_out))


def is_among(selection: frozenset[Path], path: Path) -> bool:
    return not selection.isdisjoint([path, *path.parents])


def _needs_extra(path: Path) -> bool:
    """Tell whether the module imports a name of ``EXTRAS`` when it is imported itself."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        if any(_is_named(name) for name in names):
            return True
    return False


def _is_named(name: str) -> bool:
    return any(name == extra or name.startswith(f"{extra}.") for extra in EXTRAS)


def _thinned(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Return two of three cases of the tests that have many.

    They are counted in the order of a hash of their names: the same in each process and each run.
    """
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not (_is_full(item) or is_among(EVERY_CASE, item.path) or _is_halved(item)):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        if len(cases) >= MANY_CASES:
            cases.sort(key=lambda item: crc32(item.nodeid.encode()))
            yield from (item for number, item in enumerate(cases) if number % 3)


def _is_full(item: pytest.Item) -> bool:
    return item.get_closest_marker("full") is not None


def _is_left_out(item: pytest.Item) -> bool:
    options = item.config.option
    needs_program = item.get_closest_marker("programs") is not None
    return (
        (_is_full(item) and not (options.full or options.rest))
        or needs_program is not options.programs
        or (options.bare and _is_extra(item))
        or (_is_halved(item) and _is_other_twin(item))
    )


def _is_halved(item: pytest.Item) -> bool:
    """Tell whether the test takes each kind of cache once here, by one twin of the verb."""
    options = item.config.option
    return (options.compat or options.oldest) and _indices(item).keys() >= {"alias", "call"}


def _is_other_twin(item: pytest.Item) -> bool:
    indices = _indices(item)
    return (indices["alias"] + indices["call"]) % 2 == 1


def _indices(item: pytest.Item) -> dict[str, int]:
    """Return the number of each parameter's value."""
    found: dict[str, int] = getattr(getattr(item, "callspec", None), "indices", {})
    return found


def _is_extra(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    kind = getattr(getattr(item, "callspec", None), "params", {}).get("cache_kind")
    return (
        item.get_closest_marker("extras") is not None
        or "redis_server" in fixtures
        or "own_redis_server" in fixtures
        or kind in REDIS_KINDS
    )
