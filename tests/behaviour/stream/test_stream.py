"""A site that listens to the stream of a real service: what changes there is seen here."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from msgspec.structs import replace

from instance_lookup import CacheError, LookupContext, LookupUser, get_resolver
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.concurrency.first_use import first_use
from instance_lookup.concurrency.threads import start_daemon
from instance_lookup.operations.condition import State, StreamCondition, condition_of
from instance_lookup.operations.status import _together
from instance_lookup.push import stream as module
from instance_lookup.push import stream_listener
from instance_lookup.push.stream import stream
from instance_lookup.push.stream_connection import Connection, connect
from instance_lookup.push.stream_lease import Bookmark, Lease
from tests.support.documents import PAGES
from tests.support.lookups import hooked_caches, hooks
from tests.support.servers import Answer
from tests.support.stream_server import HEARTBEAT, StreamServer, event
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.cache.keyvalue import KeyValue
    from tests.support.lookups import Twin

NAMES = ("instance-lookup-stream", "instance-lookup-stream-events")


def threads() -> list[str]:
    return sorted(each.name for each in threading.enumerate() if each.name in NAMES)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take hundredths of the seconds that things take, and leave no thread behind."""
    monkeypatch.setattr(module, "RENEW", 0.05)
    monkeypatch.setattr(stream_listener, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(stream_listener, "LONGEST_PAUSE", 0.1)
    yield
    stream.stop()
    wait_until(lambda: not threads())
    stream._health.failing.clear()
    stream._health.since.clear()


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer() as server:
        yield server


@pytest.fixture
def site(server: StreamServer, settings: Any) -> StreamServer:
    """A site that listens to the server from its first lookup on."""
    settings.CACHES = hooked_caches()
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_URL": server.url,
        "CONFIG_SERVICE_STREAM": "/stream",
        "RETRY_INTERVAL": 0.001,
    }
    return server


def version(instance_id: str = "acme") -> str:
    context = LookupContext(LookupUser.service(), instance_id=instance_id)
    return get_resolver().resolve(context).config.r2_bucket


def bookmark() -> str | None:
    """Return the id of the last event that took effect, as the next process would read it."""
    url = f"{get_resolver().settings.config_service_url}/stream"
    return Bookmark(cache(), url).read()


def cache() -> KeyValue:
    return key_values["default"]


def begun(site: StreamServer) -> None:
    """Have the site look up, and listen."""
    version()
    site.opened()
    wait_until(lambda: stream.state == "connected")


def lost_since() -> float | None:
    return stream.lost_since


def sees(expected: str) -> None:
    wait_until(lambda: version() == expected)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


@pytest.mark.parametrize("event_type", ["instance.updated", "instance.deleted", "instance.revoked"])
def test_change(site: StreamServer, event_type: str) -> None:
    """What changes at the service is seen by the next lookups, long before CACHE_TTL."""
    begun(site)
    assert version() == "v1"
    site.change(event_type)
    sees("v2")
    wait_until(lambda: bookmark() == "1")


def test_project(site: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that moves is asked for again."""
    begun(site)
    resolver = get_resolver()
    told: list[str] = []
    monkeypatch.setattr(resolver, "invalidate_project", told.append)
    site.change("project.updated", project_id="shop")
    wait_until(lambda: told == ["shop"])


def test_begins_with_a_lookup(site: StreamServer, call: Twin) -> None:
    """Nothing is asked before the first lookup, sync or async; then one connection is there."""
    resolver = get_resolver()
    assert (threads(), site.asked) == ([], 0)
    call(resolver, "resolve", LookupContext(LookupUser.service(), instance_id="acme"))
    site.opened()
    assert threads() == sorted(NAMES)
    for _ in range(3):
        call(resolver, "resolve", LookupContext(LookupUser.service(), instance_id="acme"))
    assert site.asked == 1


def test_management_does_not_begin_it(site: StreamServer) -> None:
    """Warming, invalidating and inspecting start nothing: a command is gone in a moment."""
    resolver = get_resolver()
    resolver.refresh("acme")
    resolver.invalidate_cache("acme")
    resolver.cache.get("acme", allow_stale=True)
    assert first_use.is_due
    assert threads() == []


def test_off(site: StreamServer, settings: Any) -> None:
    """Without the setting nothing starts, and nothing waits to."""
    assert stream.state == "not_used"
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": site.url}
    version()
    assert (threads(), site.asked) == ([], 0)
    assert not first_use._waiting


def test_settings_change(site: StreamServer, settings: Any) -> None:
    """Settings that are overridden stop it, and the lease is given back."""
    begun(site)
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": site.url}
    wait_until(lambda: not site.open_streams())
    wait_until(lambda: not threads())
    assert not any("stream_lease" in key for key in keys())


def keys() -> list[str]:
    return list(caches["default"]._cache)  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{"CONFIG_SERVICE_URL": 5}, "nonsense"])
def test_settings_that_are_wrong(site: StreamServer, settings: Any, options: Any) -> None:
    """Settings that are wrong stop it as well; the checks say what is wrong."""
    begun(site)
    settings.INSTANCE_LOOKUP = options
    wait_until(lambda: not threads())


def test_settings_that_went_wrong_meanwhile(
    site: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that finds no resolver to be made ends."""

    def fail() -> None:
        raise ImproperlyConfigured

    monkeypatch.setattr("instance_lookup.registry.get_resolver", fail)
    stream.start()
    wait_until(lambda: not threads())


def test_another_backend(site: StreamServer, settings: Any) -> None:
    """Only the HTTP backend has a stream; the checks say so of others."""
    backend = DictConfigService({"acme": {"instance_id": "acme", "r2_bucket": "v1"}}, {})
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_BACKEND": backend}
    assert version() == "v1"
    wait_until(lambda: not threads())
    wait_until(lambda: stream.state == "not_used")
    assert site.asked == 0


def test_cache_that_keeps_nothing(site: StreamServer, settings: Any) -> None:
    """Where nothing is kept there is nothing to invalidate, and no lease to hold."""
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {"default": dummy}
    version()
    wait_until(lambda: not threads())
    assert site.asked == 0


def test_other_holder(site: StreamServer) -> None:
    """While another process listens this one does not, and takes over when that one ends."""
    other = Lease(cache(), f"{site.url}/stream")
    assert other.hold()
    version()
    wait_until(lambda: threads() == ["instance-lookup-stream"])
    assert stream.state == "waiting"
    other.release()
    site.opened()
    wait_until(lambda: stream.state == "connected")


def test_stops_while_another_listens(site: StreamServer, settings: Any) -> None:
    """A process that waits for its turn leaves the lease to the one that has it."""
    other = Lease(cache(), f"{site.url}/stream")
    assert other.hold()
    version()
    wait_until(lambda: threads() == ["instance-lookup-stream"])
    stream.stop()
    wait_until(lambda: not threads())
    assert other.hold()
    assert site.asked == 0


def test_one_thread_when_many_begin(site: StreamServer) -> None:
    """Lookups that come together start one thread."""
    together = threading.Barrier(8)

    def begin() -> None:
        together.wait(30)
        stream.start()

    for starter in [threading.Thread(target=begin) for _ in range(8)]:
        starter.start()
    site.opened()
    assert threads() == sorted(NAMES)
    stream.start()
    assert site.asked == 1


def test_events_without_ids(site: StreamServer) -> None:
    """A service whose events have no id is understood; after a break it begins anew."""
    begun(site)
    for number in (2, 3):
        site.version = number
        site.opened().send(event(None, "instance.updated", instance_id="acme"))
        sees(f"v{number}")
    site.opened().end()
    assert site.opened(2).last_id is None


def test_lost_lease(site: StreamServer) -> None:
    """A holder that finds another one in its place stops to listen, and says nothing."""
    begun(site)
    other = Lease(cache(), f"{site.url}/stream")
    cache().set(other._key, other._token, 10)
    wait_until(lambda: not site.open_streams())
    wait_until(lambda: stream.state == "waiting")
    other.release()
    site.opened(2)


def test_lost_lease_unheard(site: StreamServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is it a loss where nothing had come yet: another process listens."""
    site.greeting = b": half a line"
    version()
    site.opened()
    wait_until(lambda: stream.state == "starting")
    other = Lease(cache(), f"{site.url}/stream")
    cache().set(other._key, other._token, 10)
    wait_until(lambda: not site.open_streams())
    wait_until(lambda: stream.state == "waiting")
    assert lines(caplog) == []


def test_stood_still(site: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still for longer than its lease acts on nothing that it heard."""
    begun(site)
    resolver = get_resolver()
    before = resolver.cache.generation("acme")
    monkeypatch.setattr(module, "RENEW", 60.0)  # its other thread has not woken up yet
    monkeypatch.setattr(Lease, "hold", lambda self: self.is_held)
    monkeypatch.setattr(Lease, "is_held", False)
    site.change()
    wait_until(lambda: not site.open_streams())
    assert resolver.cache.generation("acme") == before
    assert bookmark() is None


def test_goes_on_where_it_stopped(
    site: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a break the next connection names the last event, so nothing is missed or logged."""
    release, released = Connection.release, list[Connection]()

    def note(connection: Connection) -> None:
        released.append(connection)
        release(connection)

    monkeypatch.setattr(Connection, "release", note)
    begun(site)
    site.change()
    wait_until(lambda: bookmark() == "1")
    site.opened().end()
    site.change()  # maybe while there is no connection
    assert site.opened(2).last_id == "1"
    sees("v3")
    assert lines(caplog) == []
    assert len(released) == 1


def test_first_time(site: StreamServer) -> None:
    """A first connection names no event."""
    begun(site)
    assert site.opened().last_id is None


def test_service_forgets_the_last_event(site: StreamServer) -> None:
    """An empty id has clients begin anew (HTML, 9.2.6)."""
    begun(site)
    site.change()
    wait_until(lambda: bookmark() == "1")
    site.opened().send(b"id\n\n")
    wait_until(lambda: bookmark() is None)
    site.opened().end()
    assert site.opened(2).last_id is None


def test_cache_lost_everything(site: StreamServer) -> None:
    """A cache that came back empty does not make this process forget where it was."""
    begun(site)
    site.change()
    wait_until(lambda: bookmark() == "1")
    cache().delete(Bookmark(cache(), f"{site.url}/stream")._key)
    site.opened().end()
    assert site.opened(2).last_id == "1"


def test_nonsense_in_the_cache(site: StreamServer) -> None:
    """What another program wrote there is no id."""
    key = Bookmark(cache(), f"{site.url}/stream")._key
    cache().set(key, "{nonsense", 60)
    begun(site)
    assert site.opened().last_id is None


def test_lost_and_back(site: StreamServer, caplog: pytest.LogCaptureFixture) -> None:
    """An outage has one line at its begin and one at its end, however often it is tried."""
    begun(site)
    site.change()
    sees("v2")
    caplog.set_level(logging.WARNING)
    site.stop()
    wait_until(lambda: lines(caplog))
    assert stream.state == "lost"
    assert lost_since()
    with caplog.at_level(logging.CRITICAL):  # lookups have lines of their own
        assert version() == "v2"
    condition = condition_of(get_resolver())
    assert (condition.state, condition.stream.state) == (State.HEALTHY, "lost")
    assert condition.stream.lost_since == lost_since()
    site.start_again()
    site.opened(2)
    wait_until(lambda: stream.state == "connected")
    assert lost_since() is None
    wait_until(lambda: len(lines(caplog)) == 2)
    documented = PAGES["resilience.md"].read_text(encoding="utf-8").splitlines()
    for line, part in zip(lines(caplog), ("ConnectionRefusedError", "again: "), strict=True):
        assert part in line
        assert f"    {line.replace(site.url, 'https://config.example.com')}" in documented
    site.change()
    sees("v3")


def test_tries_are_apart(
    site: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that fails is left alone for a while, and after a success for a short one again."""
    site.answers = [Answer(500)] * 3
    begun(site)
    term = stream._term
    assert term is not None
    assert term._pauses._failures == 0
    site.answers = [Answer(500)] * 9
    monkeypatch.setattr(term._pauses, "next", lambda: 60.0)
    site.opened().end()
    wait_until(lambda: stream.state != "connected")
    for _ in range(5):
        version()
    assert site.asked == 4


def test_outage_with_several_faces(site: StreamServer, caplog: pytest.LogCaptureFixture) -> None:
    """Another failure that passes by itself is no news; one that needs a person is."""
    site.answers = [Answer(500), Answer(503), Answer(500), Answer(401), Answer(401), Answer(302)]
    begun(site)
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "ERROR", "WARNING", "WARNING"]
    for part, (_, line) in zip(("500", "401", "302", "again"), told, strict=True):
        assert part in line


def test_service_without_a_stream(site: StreamServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and asked again only after a long while."""
    site.answers = [Answer(404)] * 9
    version()
    wait_until(lambda: lines(caplog))
    wait_until(lambda: stream._term is not None)
    held = stream._term
    for _ in range(3):
        version()
    assert site.asked == 1
    assert len(lines(caplog)) == 1
    assert "Check the path in CONFIG_SERVICE_STREAM." in lines(caplog)[0]
    assert "leave CONFIG_SERVICE_STREAM out" in lines(caplog)[0]
    assert stream._term is held  # it keeps the lease: others need not ask as well


def test_silent_service(
    site: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that sends nothing is taken for gone, and connected to again."""
    monkeypatch.setattr("instance_lookup.push.stream_connection.SILENCE", 0.1)
    site.greeting = b"data: half a line"
    version()
    site.opened(3)
    assert stream.state == "lost"
    assert [line.partition("(")[2].partition(")")[0] for line in lines(caplog)] == [
        "no line in 0.1 s"
    ]


def test_retry_is_kept_to(site: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service says how long its clients wait, within bounds."""
    site.greeting = b"retry: 70\n\n"
    begun(site)
    term = stream._term
    assert term is not None
    site.opened().end()
    site.opened(2)
    assert term._pauses.first == 0.1  # the least
    site.greeting = b"retry: 90000\n\n"
    site.opened(2).end()
    site.opened(3).end()
    wait_until(lambda: term._pauses.first == stream_listener.LONGEST_PAUSE)


def test_cache_refuses(site: StreamServer, caplog: pytest.LogCaptureFixture) -> None:
    """A change that the cache does not take is tried until it does, and not passed over."""
    begun(site)
    refused = threading.Event()
    left = [3]

    def refuse(verb: str, key: str) -> None:
        if verb == "set" and "generation" in key and left[0]:
            left[0] -= 1
            refused.set()
            raise ConnectionError

    with hooks(refuse):
        site.change("instance.revoked")
        assert refused.wait(30)
        sees("v2")
    wait_until(lambda: bookmark() == "1")
    assert left == [0]
    assert site.asked == 1


@pytest.mark.parametrize("has_ids", [True, False])
def test_cache_goes_on_refusing(
    site: StreamServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_ids: bool,
) -> None:
    """It is tried until the cache takes it, also where the service does not send it again."""
    monkeypatch.setattr(stream_listener, "_PATIENCE", 0.0)
    begun(site)
    site.change("instance.revoked", instance_id="first")
    wait_until(lambda: bookmark() == "1")
    tried: list[str] = []
    is_broken = True

    def refuse(resolver: Any, instance_id: str) -> bool:
        tried.append(instance_id)
        if is_broken:
            raise CacheError("no", instance_id=instance_id)
        return True

    monkeypatch.setattr(type(get_resolver()), "invalidate_cache", refuse)
    if has_ids:
        site.change("instance.revoked", instance_id="second")
    else:
        site.opened().send(event(None, "instance.revoked", instance_id="second"))
    wait_until(lambda: len(tried) >= 3)
    assert bookmark() == "1"
    assert site.asked == 1  # nothing comes before it
    is_broken = False
    assert site.opened(2).last_id == "1"
    wait_until(lambda: bookmark() == ("2" if has_ids else "1"))
    wait_until(lambda: len(lines(caplog)) == 2)
    lost, back = lines(caplog)
    assert "did not take a change of instance 'second'" in lost
    assert "CacheError" in lost
    assert back.endswith("reach the cache again.")
    assert set(tried) == {"second"}


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"data: nonsense\n\n", "not an event"),
        (event(None, "instance.updated", instance_id="a/b"), "which is no id"),
        (event(None, "instance.updated", project_id="acme"), "instance_id is missing"),
        (b"data: " + b"x" * 70_000 + b"\n\n", "it is too long"),
    ],
)
def test_event_that_is_none(
    site: StreamServer, caplog: pytest.LogCaptureFixture, wire: bytes, why: str
) -> None:
    """It is passed over, with a line, and keeps no other back."""
    begun(site)
    site.opened().send(b"id: 7\n" + wire + b"id: 8\n" + wire)
    wait_until(lambda: bookmark() == "8")
    (line,) = lines(caplog)
    assert why in line
    site.opened().send(event("9", "instance.updated", instance_id="acme"))
    wait_until(lambda: bookmark() == "9")
    assert lines(caplog)[1:] == [
        f"Events of the Config Service at {site.url} are understood again."
    ]
    assert site.asked == 1


@pytest.mark.parametrize(
    "wire", [event(None, "instance.renamed", instance_id="acme"), b"event: ping\ndata: x\n\n"]
)
def test_event_of_another_type(
    site: StreamServer, caplog: pytest.LogCaptureFixture, wire: bytes
) -> None:
    """What a later service may tell of is passed over without a word."""
    begun(site)
    before = get_resolver().cache.generation("acme")
    site.opened().send(b"id: 7\n" + wire)
    wait_until(lambda: bookmark() == "7")
    assert get_resolver().cache.generation("acme") == before
    assert lines(caplog) == []


def test_bug_in_an_effect(
    site: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of our own is logged with its traceback, and keeps no other change back."""
    begun(site)

    def fail(change: object, resolver: object) -> None:
        raise KeyError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(stream_listener, "apply", fail)
        site.change()
        wait_until(lambda: bookmark() == "1")
    (record,) = caplog.records
    assert "KeyError in our own code" in record.getMessage()
    assert record.exc_info
    site.change()
    wait_until(lambda: bookmark() == "2")


def test_bug_in_a_backend(
    site: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that cannot be made is logged, and tried again."""
    asked = []

    def fail(*_args: object) -> None:
        asked.append(1)
        raise KeyError("bug")

    monkeypatch.setattr(stream_listener, "connect", fail)
    version()
    wait_until(lambda: len(asked) >= 3)
    (record,) = caplog.records
    assert "(KeyError)" in record.getMessage()
    assert record.exc_info


@pytest.mark.parametrize("name", NAMES)
def test_no_thread_left(site: StreamServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A system without threads to give stops no lookup, and it is tried again."""
    start, refused = start_daemon, list[str]()

    def refuse(wanted: str, *args: Any) -> Any:
        if wanted == name and not refused:
            refused.append(wanted)
            raise RuntimeError("can't start new thread")
        return start(wanted, *args)

    monkeypatch.setattr(module, "start_daemon", refuse)
    version()
    wait_until(lambda: refused)
    version()
    site.opened()


def test_end_of_the_process(site: StreamServer) -> None:
    """A process that ends gives the lease back, and closes the connection."""
    begun(site)
    stream._leave()
    assert not any("stream_lease" in key for key in keys())
    wait_until(lambda: not site.open_streams())
    stream._leave()  # nothing to give back


def test_end_before_the_answer(site: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends while it connects does not listen for a while all the same."""

    def end_meanwhile(*args: Any) -> Any:
        stream.stop()
        assert term is not None
        term.over.wait(30)
        return connect(*args)

    begun(site)
    term = stream._term
    monkeypatch.setattr(stream_listener, "connect", end_meanwhile)
    site.greeting = b": half a line"  # then nothing that would wake it
    site.opened().end()
    wait_until(lambda: not threads())


@pytest.mark.parametrize("chunked", [True, False])
def test_framing(site: StreamServer, chunked: bool) -> None:
    """The answer is in chunks, or ends with the connection."""
    site.chunked = chunked
    begun(site)
    site.change()
    sees("v2")
    site.opened().send(HEARTBEAT)


def test_cache_is_down_for_the_lease(site: StreamServer) -> None:
    """A cache that fails for a moment takes the lease from no process."""
    begun(site)
    asked: list[str] = []

    def fail(verb: str, key: str) -> None:
        if "stream_lease" in key:
            asked.append(verb)
            raise ConnectionError

    with hooks(fail):
        wait_until(lambda: len(asked) >= 3)
        assert stream.state == "connected"
    site.change()
    sees("v2")
    assert site.asked == 1


def test_bookmark_that_cannot_be_written(site: StreamServer) -> None:
    """Then this process knows where it is, and another one hears some changes twice."""
    begun(site)

    def fail(verb: str, key: str) -> None:
        if "stream_id" in key and verb == "set":
            raise ConnectionError

    with hooks(fail):
        site.change()
        sees("v2")
        site.opened().end()
        assert site.opened(2).last_id == "1"


@pytest.mark.parametrize(
    ("states", "together"),
    [
        (["waiting", "connected", "waiting"], "connected"),
        (["waiting", "lost"], "lost"),
        (["starting", "waiting"], "starting"),
        (["not_used", "waiting"], "waiting"),
        (["not_used", "not_used"], "not_used"),
    ],
)
def test_state_of_all_processes(site: StreamServer, states: list[str], together: str) -> None:
    """Of all processes the one that listens says most."""
    one = condition_of(get_resolver())
    each = [replace(one, stream=StreamCondition(state=state)) for state in states]
    assert _together(each).stream.state == together
