from __future__ import annotations

import gc
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
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

pytest_plugins = ["tests.selection", "tests.protocol"]


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.oldest and (newer := above()):
        raise pytest.UsageError(f"not at the lower bound of pyproject.toml: {'; '.join(newer)}")


def pytest_report_header() -> list[str]:
    # What a machine may lack is said once, not of each test that is skipped.
    return [f"memcached: {shutil.which(PROGRAM) or 'none, so its tests are skipped'}"]


def pytest_xdist_auto_num_workers() -> int:
    # Two for each core: tests wait now and then, but each worker collects all of them.
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    # Ten thousand tests, which each collection of garbage would look through.
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    # What SQLite leaves beside a database that a thread had still open when it was deleted.
    database = Path(settings.TEST_DATABASE)
    for leftover in database.parent.glob(f"{database.name}*"):
        leftover.unlink(missing_ok=True)


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
