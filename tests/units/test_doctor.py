"""What measured times, errors and policies of a Redis mean to the doctor."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from instance_lookup.exceptions import ConfigServiceUnavailable
from instance_lookup.operations.doctor.cache import judge_eviction
from instance_lookup.operations.doctor.findings import (
    Finding,
    Level,
    error,
    exit_code,
    failure,
    ok,
    skipped,
    warning,
)
from instance_lookup.operations.doctor.measures import (
    judge_clock,
    judge_latency,
    milliseconds,
    percentile,
)

NOW = 1_800_000_000.0


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_percentile(share: float, seconds: int) -> None:
    """It is one of the times, by the nearest rank."""
    assert percentile(list(range(20, 0, -1)), share) == seconds


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.4, "ok"), (0.6, "warning"), (2.4, "warning"), (2.6, "warning")]
)
def test_latency(seconds: float, level: str) -> None:
    """Beyond SOFT_TIMEOUT and half of CONFIG_SERVICE_TIMEOUT it is to be mended."""
    finding = judge_latency([0.1, *[seconds] * 19], [], soft_timeout=0.5, timeout=5.0)
    assert finding.level == level
    assert finding.figures["p95"] == seconds
    setting = "CONFIG_SERVICE_TIMEOUT" if seconds > 2.5 else "SOFT_TIMEOUT"
    assert (setting in finding.do) == (level == "warning")


def test_one_late_call_of_twenty_is_no_finding() -> None:
    """A machine that stands still for once does not count."""
    finding = judge_latency([0.1] * 19 + [9.0], [], soft_timeout=0.5, timeout=5.0)
    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("offset", "level", "difference"),
    [
        (0.0, "ok", 0.0),
        (0.9, "ok", 0.0),
        (-0.9, "ok", 0.0),
        (4.0, "ok", 4.0),
        (60.0, "warning", 60.0),
        (-60.0, "warning", -59.0),
    ],
)
def test_clock(offset: float, level: str, difference: float) -> None:
    """Only what whole seconds and the time of the call cannot explain is a difference."""
    finding = judge_clock(formatdate(NOW + offset, usegmt=True), NOW, NOW)
    assert (finding.level, finding.figures) == (level, {"difference": difference})


@pytest.mark.parametrize(
    ("date", "level"), [(None, "skipped"), ("yesterday", "warning"), ("", "warning")]
)
def test_clock_that_is_not_told(date: str | None, level: str) -> None:
    """A date that is missing is allowed; one that is none is not."""
    assert judge_clock(date, NOW, NOW).level == level


@pytest.mark.parametrize(
    ("policy", "limit", "level"),
    [
        ("noeviction", 0, "ok"),
        ("noeviction", 1_000, "warning"),
        ("allkeys-random", 1_000, "warning"),
        ("allkeys-lru", 1_000, "ok"),
        ("volatile-ttl", 1_000, "ok"),
        (None, None, "skipped"),
    ],
)
def test_eviction(policy: object, limit: object, level: str) -> None:
    """A full Redis has to make room, by what was used least."""
    assert judge_eviction(policy, limit).level == level


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([ok("a", "b"), skipped("a", "b")], 0),
        ([ok("a", "b"), warning("a", "b", "c")], 1),
        ([error("a", "b", "c"), warning("a", "b", "c")], 2),
    ],
)
def test_exit_code(findings: list[Finding], code: int) -> None:
    """The worst finding decides."""
    assert exit_code(findings) == code


def test_finding_is_fit_for_a_line() -> None:
    """No control character, no secret, no user of a URL, and an end."""
    finding = warning("a", "pw at http://u:p@s@host\x1b[31m", "x" * 1_000).without(["pw", ""])
    assert finding.seen == r"******** at http://********@host\x1b[31m"
    assert (len(finding.do), finding.do[-1]) == (600, "…")
    assert Finding("a", Level.OK, "b").as_dict() == {
        "probe": "a",
        "level": "ok",
        "seen": "b",
        "do": "",
        "figures": {},
    }


def test_failure_names_the_proxy() -> None:
    """Why there is no answer is told with what is known of it, and where."""
    exc = ConfigServiceUnavailable("m", reason="unreachable", status=407, proxy="host:3128")
    assert failure(exc) == "unreachable (407 at the proxy host:3128)"
    assert failure(ConfigServiceUnavailable("no reason")) == "no reason"


@pytest.mark.parametrize(("seconds", "text"), [(0.0012, "1.2 ms"), (1.25, "1.2 s")])
def test_milliseconds(seconds: float, text: str) -> None:
    """Times are told in the unit that people use."""
    assert milliseconds(seconds) == text
