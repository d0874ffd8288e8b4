from __future__ import annotations

import ast
import gc
import os
import shutil
import signal
from contextvars import copy_context
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock
from zlib import crc32

import pytest
from _pytest.runner import runtestprotocol
from django.conf import settings
from django.core.cache import caches

from instance_lookup import signals
from instance_lookup.cache import pubsub
from tests.support.caches import KINDS, REDIS_KINDS, use_cache
from tests.support.insides import at_rest
from tests.support.lookups import TWINS, Clock, Twin
from tests.support.lower_bounds import above
from tests.support.memcached_server import PROGRAM, MemcachedServer
from tests.support.receivers import receivers_forgotten
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that starts us in the background may have Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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

# A race that goes wrong once is a finding.
NO_SECOND_TRY = frozenset({TESTS / "races"})
SECOND_TRY = "first failure"

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
    parser.addoption(
        "--second-try",
        action="store_true",
        help="run a test that failed once more, and show its first failure at the end: when a "
        "machine stands still for a second, one test in tens of thousands fails. Tests of races "
        "get no second try (see NO_SECOND_TRY)",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.oldest and (newer := above()):
        raise pytest.UsageError(f"not at the lower bound of pyproject.toml: {'; '.join(newer)}")


def pytest_report_header() -> list[str]:
    # What a machine may lack is said once, not of each test that is skipped.
    return [f"memcached: {shutil.which(PROGRAM) or 'none, so its tests are skipped'}"]


def pytest_xdist_auto_num_workers() -> int:
    # Two for each core: tests wait now and then, but each worker collects all of them.
    return 2 * (os.cpu_count() or 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    options, is_module = config.option, collection_path.match("test_*.py")
    ignored = (
        (options.compat and is_module and not _is_among(COMPAT, collection_path))
        or (options.oldest and is_module and not _is_among(OLDEST, collection_path))
        or (options.traced and is_module and _is_among(UNTRACED, collection_path))
        or (options.untraced and is_module and not _is_among(UNTRACED, collection_path))
        or (is_module and _is_among(INTEGRATIONS, collection_path) != options.integrations)
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


def pytest_collection_finish() -> None:
    # Ten thousand tests, which each collection of garbage would look through.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run each test in a context of its own.

    The connections of ``caches`` are in a context variable, another one whenever a test overrides
    ``CACHES``, and asgiref copies all variables wherever sync and async meet. Those that thousands
    of tests had left cost each such call a tenth of a second.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = _run(item, nextitem)
    if _may_try_again(item) and any(each.failed for each in reports):
        first, reports = reports, _run(item, nextitem)
        reports[-1].user_properties.append((SECOND_TRY, _failure(first)))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in chain.from_iterable(terminalreporter.stats.values()):
        for name, failure in getattr(report, "user_properties", ()):
            if name == SECOND_TRY:
                terminalreporter.section(f"tried a second time: {report.nodeid}")
                terminalreporter.line(failure)


def pytest_unconfigure() -> None:
    # What SQLite leaves beside a database that a thread had still open when it was deleted.
    database = Path(settings.TEST_DATABASE)
    for leftover in database.parent.glob(f"{database.name}*"):
        leftover.unlink(missing_ok=True)


def _run(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    return copy_context().run(runtestprotocol, item, log=False, nextitem=nextitem)


def _may_try_again(item: pytest.Item) -> bool:
    return bool(item.config.option.second_try) and not _is_among(NO_SECOND_TRY, item.path)


def _failure(reports: list[pytest.TestReport]) -> str:
    return "\n".join(each.longreprtext for each in reports if each.failed)


def _is_among(selection: frozenset[Path], path: Path) -> bool:
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
        if not _is_full(item) and not _is_among(EVERY_CASE, item.path):
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


@pytest.fixture(autouse=True)
def _settings_are_restored() -> Iterator[None]:
    """Fail a test that overrides settings for longer than it runs.

    Overrides that end in another order than the reverse of their begin bring one of them back: a
    fixture that overrides settings has to be asked for before pytest-django's ``settings``. A later
    test would fail, and seldom.
    """
    before = vars(settings)["_wrapped"]
    yield
    assert vars(settings)["_wrapped"] is before, "an override of the settings outlives the test"


@pytest.fixture(autouse=True)
def _no_listeners() -> Iterator[None]:
    """Have no thread listen on, or log, when its test is over: it would do so in the next.

    It ends within a second. Nothing waits for that: each test with a Redis would have to.
    """
    yield
    for channel in pubsub._channels.values():
        channel._hearers.clear()
        channel._health = Mock()
    pubsub._channels.clear()


@pytest.fixture(autouse=True)
def _empty_default_cache() -> Iterator[None]:
    """Clear the cache after each test, so that tests can run in any order."""
    yield
    caches["default"].clear()


@pytest.fixture(autouse=True)
def _no_receivers() -> Iterator[None]:
    """Keep what one test connected to our signals from the next."""
    with receivers_forgotten(signals):
        yield


@pytest.fixture(autouse=True)
def _no_work(
    _no_listeners: None, _empty_default_cache: None, _no_receivers: None
) -> Iterator[None]:
    """Have the work that a test began end with it: the next would see its log, and its faults."""
    yield
    wait_until(at_rest)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock, which stands still until the test moves it."""
    return Clock(monkeypatch)


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Twin:
    """Calls a verb, and in turn its asynchronous twin."""
    twin: Twin = request.param
    return twin


@pytest.fixture
def refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every write that fails for one that failed at once, however busy the machine is."""
    monkeypatch.setattr("instance_lookup.cache.health._SLOW", 60.0)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for all tests of this process; to pause or kill one, take `own_redis_server`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A server for this test alone, to be paused, killed and started again."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """A server for all tests of this process, which are skipped where there is none."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def own_memcached_server() -> Iterator[MemcachedServer]:
    """A server for this test alone, to be paused, killed and started again."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def pymemcache(memcached_server: MemcachedServer) -> str:
    """The address of a memcached for that client, which is in the group ``test``."""
    return memcached_server.location


@pytest.fixture
def pylibmc(memcached_server: MemcachedServer) -> str:
    """The address of a memcached for that client, which has no wheels: it may be missing."""
    pytest.importorskip("pylibmc", reason="pylibmc is not installed (it needs libmemcached-dev)")
    return memcached_server.location


@pytest.fixture(params=KINDS)
def cache_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of cache in turn; `parametrize("cache_kind", [...])` narrows the choice."""
    kind: str = request.param
    return kind


@pytest.fixture
def cache_alias(request: pytest.FixtureRequest, cache_kind: str, tmp_path: Path) -> Iterator[str]:
    """The alias of an empty cache, of each kind in turn."""
    redis_url = None
    if cache_kind in REDIS_KINDS:
        redis_url = request.getfixturevalue("redis_server").url()
    if cache_kind == "db":
        # Not `db`: its open transaction locks out the threads of the code under test. The marker,
        # since a fixture asked for this late does not count when pytest-django chooses.
        request.applymarker(pytest.mark.django_db(transaction=True))
        request.getfixturevalue("transactional_db")
    with use_cache(cache_kind, redis_url=redis_url, directory=tmp_path) as alias:
        yield alias
