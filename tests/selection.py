"""Which tests run: the options of ``pytest``, and the modules that each of them chooses."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from tests.support.caches import REDIS_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

# A test module that imports one of these needs an extra. Of the package only names that the import
# contract in pyproject.toml allows to import an optional dependency belong here, so that a wrong
# import in any other module fails the environment `bare`.
EXTRAS = frozenset({
    "celery",
    "channels",
    "cryptography",
    "debug_toolbar",
    "django_redis",
    "instance_lookup.contrib.celery",
    "instance_lookup.contrib.openfeature",
    "instance_lookup.contrib.opentelemetry",
    "instance_lookup.contrib.prometheus",
    "health_check",
    "httpx",
    "instance_lookup.permissions.composition",
    "instance_lookup.cache.encryption",
    "instance_lookup.contrib.health_check",
    "instance_lookup.contrib.debug_toolbar",
    "instance_lookup.permissions",
    "instance_lookup.throttling.drf",
    "openapi_core",
    "openapi_schema_validator",
    "openfeature",
    "opentelemetry",
    "playwright",
    "prometheus_client",
    "redis",
    "rest_framework",
    "rest_framework_simplejwt",
    "rich",
    "tests.behaviour.drf",
    "tests.behaviour.leaks.pages",
    "tests.properties.drf_urls",
    "tests.support.celery_site",
    "tests.support.celery_worker",
    "tests.support.task_queue",
    "tests.support.task_site",
    "tests.typing",
    "trustme",
    "valkey",
})  # fmt: skip

TESTS = Path(__file__).parent

# What another version of Python or Django could break: modules, and directories of them. A
# test that takes each kind of cache, sync and async, takes each kind once, every other one async.
COMPAT = frozenset({
    TESTS / "behaviour" / "commands" / "test_invalidate_instance_cache.py",
    TESTS / "behaviour" / "commands" / "test_warm_instance_cache.py",
    TESTS / "behaviour" / "drf" / "test_authentication.py",
    TESTS / "behaviour" / "drf" / "test_exception_handler.py",
    TESTS / "behaviour" / "drf" / "test_permissions.py",
    TESTS / "races" / "test_races_each_act.py",
    TESTS / "behaviour" / "asgi" / "test_scopes.py",
    TESTS / "behaviour" / "cache" / "test_cache_contract.py",
    TESTS / "behaviour" / "contrib" / "test_django_tasks.py",
    TESTS / "behaviour" / "django" / "test_decorators.py",
    TESTS / "behaviour" / "django" / "test_lookup.py",
    TESTS / "behaviour" / "django" / "test_middleware.py",
    TESTS / "behaviour" / "jobs" / "test_carried.py",
    TESTS / "behaviour" / "push" / "test_webhook.py",
    TESTS / "behaviour" / "throttling" / "test_drf.py",
    TESTS / "behaviour" / "throttling" / "test_views.py",
})  # fmt: skip

# What an older version of a dependency could break: the same, and what leans on one, such as the
# insides of urllib3 and asgiref, or an extra.
OLDEST = COMPAT | frozenset({
    TESTS / "behaviour" / "asgi",
    TESTS / "behaviour" / "cache" / "test_documents.py",
    TESTS / "behaviour" / "cache" / "test_redis_client.py",
    TESTS / "behaviour" / "contrib",
    TESTS / "behaviour" / "django" / "test_checks.py",
    TESTS / "behaviour" / "django" / "test_debug_toolbar.py",
    TESTS / "behaviour" / "drf",
    TESTS / "behaviour" / "http",
    TESTS / "behaviour" / "jobs",
    TESTS / "behaviour" / "operations" / "test_callers.py",
    TESTS / "behaviour" / "status" / "test_health_check.py",
    TESTS / "behaviour" / "who" / "test_users_jwt.py",
    TESTS / "units" / "test_codec.py",
    TESTS / "units" / "test_threads.py",
    TESTS / "units" / "test_types.py",
})  # fmt: skip

# What takes long and reaches no branch that the others do not reach: modules, and directories of
# them. Tracing makes tests take half as long again, so these are run without it; the environment
# `coverage` says whether the others, and those of `bare`, still reach every branch.
UNTRACED = frozenset({
    TESTS / "behaviour" / "cache" / "test_cache_contract.py",
    TESTS / "behaviour" / "cache" / "test_documents.py",
    TESTS / "behaviour" / "cache" / "test_documents_served.py",
    TESTS / "behaviour" / "cache" / "test_entry_rejects.py",
    TESTS / "behaviour" / "cache" / "test_generations.py",
    TESTS / "behaviour" / "cache" / "test_generations_stored.py",
    TESTS / "behaviour" / "cache" / "test_sealed.py",
    TESTS / "behaviour" / "commands" / "test_output.py",
    TESTS / "behaviour" / "commands" / "test_warm_instance_cache.py",
    TESTS / "behaviour" / "django" / "test_live_servers.py",
    TESTS / "behaviour" / "django" / "test_watched.py",
    TESTS / "behaviour" / "drf" / "test_concealment.py",
    TESTS / "behaviour" / "drf" / "test_schemas.py",
    TESTS / "behaviour" / "http" / "test_http_connections.py",
    TESTS / "behaviour" / "http" / "test_http_forks.py",
    TESTS / "behaviour" / "leaks",
    TESTS / "behaviour" / "push" / "test_live_webhook.py",
    TESTS / "behaviour" / "who" / "test_concealment.py",
    TESTS / "docs",
    TESTS / "outages",
    TESTS / "properties",
    TESTS / "races",
    TESTS / "sandbox",
    TESTS / "units" / "test_audit.py",
    TESTS / "units" / "test_benchmarks.py",
    TESTS / "units" / "test_packaging.py",
    TESTS / "units" / "test_stream_parser.py",
})  # fmt: skip

# From so many cases on `--quick` runs one of three, but for modules, and directories of them, whose
# cases are cheap and each the only one of its kind, or reach a branch that no other case does.
MANY_CASES = 6
EVERY_CASE = frozenset({
    TESTS / "behaviour" / "asgi" / "test_scopes.py",
    TESTS / "behaviour" / "commands" / "test_block_instance.py",
    TESTS / "behaviour" / "contrib" / "test_openfeature.py",
    TESTS / "behaviour" / "django" / "test_checks.py",
    TESTS / "behaviour" / "django" / "test_debug_toolbar.py",
    TESTS / "behaviour" / "django" / "test_error_pages.py",
    TESTS / "behaviour" / "fetching" / "test_keys_in_errors.py",
    TESTS / "behaviour" / "http" / "test_access_tokens.py",
    TESTS / "behaviour" / "http" / "test_file.py",
    TESTS / "behaviour" / "operations" / "doctor",
    TESTS / "behaviour" / "operations" / "test_calls.py",
    TESTS / "behaviour" / "status",
    TESTS / "behaviour" / "throttling" / "test_views.py",
    TESTS / "behaviour" / "who" / "test_users.py",
    TESTS / "behaviour" / "who" / "test_verdicts.py",
    TESTS / "docs",
    TESTS / "units",
})  # fmt: skip

# What needs packages that few sites have: their tests are run with `--integrations`, and no others.
INTEGRATIONS = frozenset({TESTS / "integrations"})

# The sandbox is a site built with DRF; it and its tests are of one piece.
EXTRA_DIRECTORIES = frozenset({TESTS / "sandbox"})


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
    options, thinned = config.option, set(_thinned(items))
    left_out = [
        item
        for item in items
        if _is_left_out(item)
        or (options.quick and item in thinned)
        or (options.rest and item not in thinned and not _is_full(item))
    ]
    if left_out:
        kept = set(items).difference(left_out)
        items[:] = [item for item in items if item in kept]
        config.hook.pytest_deselected(items=left_out)


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

    They are counted in the order of a hash of their names: it is the same in each process and each
    run, and no parameter has one value in all that stay.
    """
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not _is_full(item) and not is_among(EVERY_CASE, item.path):
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
        or ((options.compat or options.oldest) and _is_other_twin(item))
    )


def _is_other_twin(item: pytest.Item) -> bool:
    """Tell whether the test runs on this kind of cache by the verb's other twin."""
    indices = getattr(getattr(item, "callspec", None), "indices", {})
    return indices.keys() >= {"alias", "call"} and (indices["alias"] + indices["call"]) % 2 == 1


def _is_extra(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    kind = getattr(getattr(item, "callspec", None), "params", {}).get("cache_kind")
    return (
        item.get_closest_marker("extras") is not None
        or "redis_server" in fixtures
        or "own_redis_server" in fixtures
        or kind in REDIS_KINDS
    )
