"""The soak runs, ends what it started, and knows a wrong answer when it sees one."""

from __future__ import annotations

import socket
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from benchmarks import soak
from benchmarks.soak_ledger import (
    DOWN_FOR,
    NEAR_BOUND,
    RECOVERY,
    SLACK,
    Ledger,
    percentile,
    report,
)
from benchmarks.soak_processes import Balancer, Service
from benchmarks.soak_site import STALE_MAX_AGE, TIMEOUT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ledger() -> Ledger:
    """A ledger in which version 1 was replaced by version 2 and invalidated."""
    ledger = Ledger()
    ledger.replaced("acme", 1)
    ledger.replaced("acme", 2)
    ledger.invalidated({"acme": 2}, "204")
    return ledger


@pytest.mark.full
@pytest.mark.extras
def test_soak_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A short run has no wrong answer, and all processes are well again afterwards."""
    assert soak.main(["--minutes", "0.05", "--seed", "7", "--clients", "4"]) == 0
    shown = capsys.readouterr().out
    assert "seed:                 7" in shown
    assert "\nwrong answers:        0\n" in shown
    assert "p99.9" in shown


def test_service_is_ended_and_comes_back(tmp_path: Path) -> None:
    """The service is started again on the same port, and a hung one can be ended."""
    with Service(tmp_path) as service:
        port = service.port
        service.stop()
        service.start()
        assert service.port == port
        service.pause()


@pytest.mark.parametrize("well", [True, False])
def test_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], well: bool
) -> None:
    """The exit code is 0 if all is well, else 1; the seed is printed."""
    monkeypatch.setattr(soak, "soak", lambda seconds, **kwargs: (Ledger(), "report", well))
    assert soak.main(["--minutes", "1"]) == (0 if well else 1)
    assert capsys.readouterr().out.startswith("seed:")


def test_current_version_is_right(ledger: Ledger) -> None:
    """A current version, or a newer one, is right."""
    ledger.check("acme", 2, monotonic())
    ledger.check("acme", 3, monotonic())
    ledger.check("other", 1, monotonic())
    assert (ledger.wrong, ledger.late) == ([], 0)


def test_invalidated_version_is_wrong(ledger: Ledger) -> None:
    """A version is wrong for requests that began after the invalidation was acknowledged."""
    ledger.check("acme", 1, monotonic() - 1)
    assert ledger.wrong == []
    ledger.check("acme", 1, monotonic())
    assert "was invalidated" in ledger.wrong[0]


def test_invalidation_that_was_not_acknowledged_promises_nothing() -> None:
    """An invalidation that was not acknowledged makes no version wrong."""
    ledger = Ledger()
    ledger.invalidated({"acme": 2}, "503")
    ledger.check("acme", 1, monotonic())
    assert ledger.wrong == []


@pytest.mark.parametrize(("later", "late"), [(0.0, 1), (NEAR_BOUND + 0.1, 0)])
def test_invalidated_version_while_redis_is_down(ledger: Ledger, later: float, late: int) -> None:
    """While Redis is down an invalidated version may be served for as long as documented."""
    with ledger.disturbed("redis hung", redis=True):
        ledger.check("acme", 1, monotonic() + later)
    assert (ledger.late, len(ledger.wrong)) == (late, 1 - late)


def test_outage_of_the_service_excuses_nothing(ledger: Ledger) -> None:
    """An outage of the service excuses no invalidated version: the cache was there."""
    with ledger.disturbed("service hung", redis=False):
        ledger.check("acme", 1, monotonic())
    assert len(ledger.wrong) == 1


def test_outage_long_ago_excuses_nothing(ledger: Ledger) -> None:
    """An outage that ended long ago excuses no invalidated version."""
    with ledger.disturbed("redis hung", redis=True):
        pass
    long_after = monotonic() + DOWN_FOR + 1
    ledger._acknowledged["acme"].append((long_after, 3))
    ledger.check("acme", 2, long_after + 0.1)
    assert len(ledger.wrong) == 1


def test_version_past_the_age_limit_is_wrong(ledger: Ledger) -> None:
    """A version older than the age limit is wrong, invalidated or not."""
    ledger._acknowledged.clear()
    limit = monotonic() + STALE_MAX_AGE + TIMEOUT + SLACK
    ledger.check("acme", 1, limit - 1)
    assert ledger.wrong == []
    ledger.check("acme", 1, limit)
    assert "older than" in ledger.wrong[0]


@pytest.mark.parametrize(("seconds", "is_well"), [(TIMEOUT, True), (TIMEOUT + 2 * SLACK, False)])
def test_refusal_in_a_calm_time(ledger: Ledger, seconds: float, is_well: bool) -> None:
    """In a calm time an owner may be refused for as long as one call takes, and no longer."""
    ledger.owner_answered("acme", monotonic() - seconds, refused=True)
    ledger.owner_answered("acme", monotonic(), refused=False)
    ledger.owner_answered("acme", monotonic() - 9, refused=False)
    assert ledger.longest_refusal == pytest.approx(seconds, abs=0.1)
    assert ledger.is_well is is_well


def test_refusal_after_an_outage_is_not_held_against_the_site(ledger: Ledger) -> None:
    """A refusal shortly after an outage is excused."""
    with ledger.disturbed("service stopped", redis=False):
        pass
    ledger.owner_answered("acme", monotonic() - RECOVERY + 1, refused=True)
    assert ledger.is_well


def test_forgotten_connections_are_reset_at_their_next_packet(tmp_path: Path) -> None:
    """A forgotten idle connection is reset at its next packet; a new connection works."""
    with Service(tmp_path) as service, Balancer(service.port) as balancer:
        question = b"GET /instances/acme HTTP/1.1\r\nHost: a\r\n\r\n"
        with socket.create_connection(("127.0.0.1", balancer.port), 5) as old:
            old.sendall(question)
            assert old.recv(65536).startswith(b"HTTP/1.1 404")
            wait_until(lambda: _is_forgotten(balancer, old, question))
        with socket.create_connection(("127.0.0.1", balancer.port), 5) as new:
            new.sendall(question)
            assert new.recv(65536).startswith(b"HTTP/1.1 404")


def _is_forgotten(balancer: Balancer, old: socket.socket, question: bytes) -> bool:
    """Ask on an idle connection, and tell whether it was reset."""
    sleep(0.05)
    balancer.forget()
    sleep(0.05)
    try:
        old.sendall(question)
        return not old.recv(65536)
    except ConnectionResetError:
        return True


def test_report_of_nothing() -> None:
    """A soak in which nothing happened can be reported; wrong answers are shown in full."""
    ledger = Ledger(wrong=["acme was answered with other"])
    shown = report(ledger, seconds=0, calls=0, recovery=None)
    assert "NOT RECOVERED" in shown
    assert shown.endswith("acme was answered with other")


def test_percentile() -> None:
    """A percentile is one of the values, not a number between two."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.999) == 1.0
