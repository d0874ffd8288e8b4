from __future__ import annotations

import logging
from threading import Barrier, Thread

import pytest

from instance_lookup.resilience.health import Health


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "instance_lookup")
    return caplog


def test_working_is_no_news(log: pytest.LogCaptureFixture) -> None:
    """A part that works from the start is not logged."""
    Health("Config Service").ok()
    assert log.messages == []


def test_outage_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """An outage is logged once, though requests and details change."""
    health = Health("Config Service")
    for number in range(5):
        health.failed("timeout", f"no answer for 'acme-{number}'")
    assert log.record_tuples == [("instance_lookup", logging.WARNING, "no answer for 'acme-0'")]


def test_recovery_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """The end of an outage is logged once."""
    health = Health("Config Service")
    health.failed("timeout", "no answer")
    log.clear()
    health.ok()
    health.ok()
    assert log.record_tuples == [
        ("instance_lookup", logging.WARNING, "Config Service works again.")
    ]


def test_recovery_may_have_a_line_of_its_own(log: pytest.LogCaptureFixture) -> None:
    """A recovery may have its own line, which is logged only after a failure."""
    health = Health("Config Service")
    health.ok("deletions", "It answers again.")
    health.failed("gone", "All is gone.", part="deletions")
    health.ok("deletions", "It answers again.")
    assert log.messages == ["All is gone.", "It answers again."]


def test_line_with_a_percent_sign_is_logged_as_it_is(log: pytest.LogCaptureFixture) -> None:
    """A URL or an id may hold one; it is no format."""
    Health("Config Service").failed("timeout", "no answer for '100%s'")
    assert log.messages == ["no answer for '100%s'"]


def test_another_reason_is_another_line(log: pytest.LogCaptureFixture) -> None:
    """A failure for another reason is logged again."""
    health = Health("Config Service")
    health.failed("timeout", "no answer")
    health.failed("credential", "401", logging.ERROR)
    assert [record.levelno for record in log.records] == [logging.WARNING, logging.ERROR]


def test_second_outage_is_news_again(log: pytest.LogCaptureFixture) -> None:
    """After a recovery the same failure is logged again."""
    health = Health("Instance cache")
    for _ in range(2):
        health.failed("down", "refused")
        health.ok()
    assert len(log.messages) == 4


def test_threads_log_one_line(log: pytest.LogCaptureFixture) -> None:
    """A hundred requests that fail together log one line."""
    health, start = Health("Config Service"), Barrier(20)

    def fail() -> None:
        start.wait(5)
        health.failed("timeout", "no answer")

    threads = [Thread(target=fail) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert log.messages == ["no answer"]


def test_change_noticed_meanwhile_is_no_news(log: pytest.LogCaptureFixture) -> None:
    """A change that another thread has logged meanwhile is not logged again."""
    health = Health("Config Service")
    health.failed("timeout", "no answer")
    log.clear()

    class LockTakenSecond:
        def __enter__(self) -> None:
            health.failing.clear()  # what the thread before us did under the lock

        def __exit__(self, *error: object) -> None: ...

    health._lock_of_process = LockTakenSecond()  # type: ignore[assignment]
    health.ok()
    assert log.messages == []


def test_parts_fail_each_for_itself(log: pytest.LogCaptureFixture) -> None:
    """Each part fails and recovers by itself."""
    health = Health("Config Service")
    for part in ("acme", "other"):
        health.failed("rejected", f"{part}: not JSON", part=part)
    log.clear()
    health.ok("acme")
    health.ok()
    health.failed("rejected", "other: not JSON", part="other")
    assert log.messages == ["Config Service, acme, works again."]


def test_forgotten_part_is_one_more_line(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; what is failing longest is forgotten first."""
    monkeypatch.setattr("instance_lookup.resilience.health._LIMIT", 2)
    health = Health("Config Service")
    for part in ("a", "b", "c"):
        health.failed("rejected", part, part=part)
    log.clear()
    for part in ("c", "b", "a"):
        health.failed("rejected", part, part=part)
    assert log.messages == ["a"]


def test_bug_is_logged_with_its_traceback(log: pytest.LogCaptureFixture) -> None:
    """An unexpected error is logged with its traceback."""
    try:
        raise ZeroDivisionError("of a backend")
    except ZeroDivisionError as exc:
        Health("Config Service").failed("ZeroDivisionError", "failed", logging.ERROR, bug=exc)
    assert "raise ZeroDivisionError" in log.text
