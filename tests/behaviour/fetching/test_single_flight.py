from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Barrier, Event, Thread
from typing import Any

import pytest

from instance_lookup.concurrency.crew import Full
from instance_lookup.concurrency.single_flight import Flight, SingleFlight, _Board, _Group
from instance_lookup.concurrency.threads import DaemonPool
from tests.support.forks import FORKS
from tests.support.insides import on_board
from tests.support.locks import TakenFirst
from tests.support.waiting import wait_until
from tests.units.test_threads import run_python

CROWD = 500
FORK = """
import os, sys
from contextlib import nullcontext
from threading import Event, Thread
from instance_lookup.concurrency.single_flight import SingleFlight
from instance_lookup.concurrency.threads import DaemonPool

flights, landed = SingleFlight(DaemonPool("forking", 2), longest=20, overdue=bool), Event()
flight = flights.join("acme", lambda: landed.wait(10) and "parent")
held = flights._board.lock if "locked" in sys.argv else nullcontext()
with held:
    child = eval(sys.argv[2])
if child:
    _, status = os.waitpid(child, 0)
    landed.set()
    print(flight.future.result(10), status)
else:
    print(flights.join("acme", lambda: "child").future.result(5), flush=True)
"""


@pytest.fixture
def flights() -> SingleFlight[Any]:
    return make_flights(DaemonPool("test-flights", 4))


def make_flights(pool: Any) -> SingleFlight[Any]:
    return SingleFlight(pool, longest=30, overdue=bool)


class FailingPool:
    """A pool whose worker fails before it starts the job."""

    def submit(self, *job: Any, **lane: Any) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(OSError("the database's driver is upset"))
        return future


def test_one_call_for_threads_and_coroutines(flights: SingleFlight[Any]) -> None:
    """500 threads and 500 coroutines that want the same have it fetched once."""
    calls, release, joined = [], Event(), Barrier(CROWD + 1)

    def work() -> str:
        calls.append("acme")
        assert release.wait(20)
        return "answer"

    answers: list[str] = []

    def follow() -> None:
        flight = flights.join("acme", work)
        joined.wait(20)
        answers.append(flight.future.result(20))

    async def follow_async(everybody: asyncio.Barrier) -> str:
        flight = flights.join("acme", work)
        await everybody.wait()
        release.set()
        return await asyncio.shield(asyncio.wrap_future(flight.future))

    async def crowd() -> list[str]:
        everybody = asyncio.Barrier(CROWD)
        return await asyncio.gather(*(follow_async(everybody) for _ in range(CROWD)))

    threads = [Thread(target=follow) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    joined.wait(20)
    assert asyncio.run(crowd()) == ["answer"] * CROWD
    for thread in threads:
        thread.join(20)
    assert answers == ["answer"] * CROWD
    assert calls == ["acme"]


def test_different_keys_fly_apart(flights: SingleFlight[Any]) -> None:
    """A slow fetch for one id does not hold up a fetch for another."""
    release = Event()
    slow = flights.join("slow", lambda: release.wait(5))
    assert flights.join("quick", lambda: "quick").future.result(5) == "quick"
    assert not slow.future.done()
    release.set()
    assert slow.future.result(5) is True


def test_error_is_everybodys(flights: SingleFlight[Any]) -> None:
    """All callers that wait for a flight get its error."""
    error, release = ValueError("?"), Event()

    def work() -> None:
        assert release.wait(5)
        raise error

    joined = [flights.join("acme", work) for _ in range(3)]
    release.set()
    assert [flight.future.exception(5) for flight in joined] == [error] * 3


@pytest.mark.parametrize(
    "end", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), StopIteration()], ids=repr
)
def test_end_of_a_fetch_does_not_end_who_waits(
    flights: SingleFlight[Any], end: BaseException
) -> None:
    """SystemExit in a fetch's thread is a RuntimeError for those that wait, and no cancellation."""

    def work() -> None:
        raise end

    async def follow() -> str:
        flight = flights.join("acme", work)
        with pytest.raises(RuntimeError, match=type(end).__name__) as caught:
            await asyncio.wait_for(asyncio.wrap_future(flight.future), 5)
        assert caught.value.__cause__ is end
        assert isinstance(flight.future.exception(), RuntimeError)
        return "goes on"

    assert asyncio.run(follow()) == "goes on"


def test_next_one_flies_anew(flights: SingleFlight[Any]) -> None:
    """Answer and error alike are of those who waited, not of who comes later."""
    assert isinstance(flights.join("acme", lambda: 1 // 0).future.exception(5), ZeroDivisionError)
    assert flights.join("acme", lambda: 1).future.result(5) == 1
    assert flights.join("acme", lambda: 2).future.result(5) == 2


def test_landed_flight_is_forgotten_before_its_result_is_known(flights: SingleFlight[Any]) -> None:
    """A landed flight is forgotten first, so that a later caller never gets an older answer."""
    boards: list[list[Any]] = []
    release = Event()
    flight = flights.join("acme", lambda: release.wait(5))
    flight.future.add_done_callback(lambda _: boards.append(on_board(flights)))
    release.set()
    wait_until(lambda: boards)
    assert boards == [[]]


def test_follower_who_stops_waiting_ends_nothing(flights: SingleFlight[Any]) -> None:
    """A flight is running from the start, which no cancellation reaches."""
    release = Event()
    flight = flights.join("acme", lambda: release.wait(5))
    assert not flight.future.cancel()
    release.set()
    assert flight.future.result(5) is True


def test_no_thread_can_be_started(
    flights: SingleFlight[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no thread can be started the caller gets the error, and no flight is left to join."""

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            flights.join("acme", lambda: 1)
    assert flights.join("acme", lambda: 2).future.result(5) == 2


@pytest.mark.parametrize("state", ["free", "locked"])
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_fork(state: str, fork: str) -> None:
    """A child does not wait for flights and locks that only exist in its parent."""
    done = run_python(f"import sys; sys.argv = ['', {state!r}, {fork!r}]\n{FORK}")
    assert done.stdout.split("\n") == ["child", "parent 0", ""], done.stderr


def test_pool_that_fails_before_the_work(
    flights: SingleFlight[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiting caller gets the error at once, and the next caller starts a new flight."""
    upset = OSError("the database's driver is upset")

    def close_old_connections() -> None:
        raise upset

    with monkeypatch.context() as patched:
        patched.setattr(
            "instance_lookup.concurrency.threads.close_old_connections", close_old_connections
        )
        assert flights.join("acme", lambda: 1).future.exception(5) is upset
    assert flights.join("acme", lambda: 2).future.result(5) == 2


def test_pool_that_has_failed_already() -> None:
    """The caller that starts the flight gets the pool's error and does not wait for ever."""
    flights, errors = make_flights(FailingPool()), []
    asking = Thread(
        target=lambda: errors.append(flights.join("acme", bool).future.exception(5)), daemon=True
    )
    asking.start()
    asking.join(5)
    assert [str(error) for error in errors] == ["the database's driver is upset"]
    assert flights._board.groups == {}


def test_pool_that_fails_after_the_work(flights: SingleFlight[Any]) -> None:
    """The answer is there all the same."""
    flight = flights.join("acme", lambda: 1)
    assert flight.future.result(5) == 1
    flights._crash(flight, OSError("upset"))
    assert flight.future.result() == 1


def test_result_for_all_ends_the_waiting_of_all() -> None:
    """Of several flights for one id, the first answer that is for all settles the others."""
    flights: SingleFlight[str] = SingleFlight(
        DaemonPool("test-flights", 4),
        longest=30,
        overdue=bool,
        is_for_all=lambda result: result == "all",
    )
    release, late = Event(), Event()
    slow = flights.join("acme", lambda: str(late.wait(5)))
    own = flights.join("acme", lambda: "own", part="olga")
    assert own.future.result(5) == "own"
    assert not slow.future.done()
    shared = flights.join("acme", lambda: "all" if release.wait(5) else "", part="sam")
    release.set()
    assert [each.future.result(5) for each in (slow, shared)] == ["all"] * 2
    assert flights._board.groups == {}
    late.set()  # what it brings has been answered for
    assert slow.future.result(5) == "all"


def test_no_more_than_so_many_beside_the_first(flights: SingleFlight[Any]) -> None:
    """Others are told; those who join one that is there are not."""
    release = Event()
    for part in (None, "olga", "sam"):
        flights.join("acme", lambda: release.wait(5), part=part, most=2)
    with pytest.raises(Full):
        flights.join("acme", bool, part="ada", most=2)
    assert flights.join("acme", bool, part="sam", most=2).future.done() is False
    release.set()


def test_flight_under_another_name(flights: SingleFlight[Any]) -> None:
    """A flight that is renamed is joined under both names, and removed under both."""
    release = Event()
    flight = flights.join("acme", lambda: release.wait(5))
    assert flights.rename("acme", "acme.1", None) is None
    assert flights.rename("acme", "acme.1", None) is None
    assert flights.join("acme.1", bool) is flight
    assert flights.rename("beta", "beta.1", None) is None  # has landed
    release.set()
    assert flight.future.result(5) is True
    assert flights._board.groups == {}


def test_flight_that_follows_another(flights: SingleFlight[Any]) -> None:
    """Two that began under two names: one does the work, the other has its result."""
    release, begun = Event(), Event()
    other = flights.join("acme.1", lambda: release.wait(5) and "answer")

    def work() -> Any:
        begun.set()
        return flights.rename("acme", "acme.1", None)

    flight = flights.join("acme", work)
    assert begun.wait(5)
    release.set()
    assert [each.future.result(5) for each in (flight, other)] == ["answer"] * 2
    assert flights._board.groups == {}


def test_flight_that_began_while_the_lock_was_waited_for_is_joined(
    flights: SingleFlight[Any],
) -> None:
    """Callers that come together share one flight, though each of them saw none."""
    release, began = Event(), []
    board: Any = flights._board
    board.lock = TakenFirst(lambda: began.append(flights.join("acme", lambda: release.wait(5))))
    assert [flights.join("acme", bool)] == began
    release.set()


def test_flight_that_began_under_the_other_name_meanwhile_is_followed(
    flights: SingleFlight[Any],
) -> None:
    """A flight that began under the other name just before the renaming is followed."""
    release, began = Event(), []
    flights.join("acme", lambda: release.wait(5))
    board: Any = flights._board
    board.lock = TakenFirst(lambda: began.append(flights.join("acme.1", lambda: release.wait(5))))
    assert [flights.rename("acme", "acme.1", None)] == began
    release.set()


def test_flight_lands_once_though_another_answers_for_it() -> None:
    """A future is settled once, though its own flight ends at the same moment."""
    board: Any = _Board()
    group = _Group(board, ["acme"])
    own, other = (Flight[Any](group, part, Future(), 0.0, None) for part in "ab")
    group.flights.update(a=own, b=other)
    board.groups["acme"] = group
    settled: list[Any] = []
    board.lock = TakenFirst(lambda: settled.extend(other.land(everyone=True)))
    assert own.land(everyone=False) == []
    assert settled == [other, own]
    assert board.groups == {}
