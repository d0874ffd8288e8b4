"""How a test is run: in a context of its own, and once more if it fails."""

from __future__ import annotations

from contextvars import copy_context
from itertools import chain

import pytest
from _pytest.runner import runtestprotocol

from tests.selected import TESTS
from tests.selection import is_among

# A race that goes wrong once is a finding.
NO_SECOND_TRY = frozenset({TESTS / "races"})
SECOND_TRY = "first failure"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--second-try",
        action="store_true",
        help="run a test that failed once more, and show its first failure at the end: when a "
        "machine stands still for a second, one test in tens of thousands fails. Tests of races "
        "get no second try (see NO_SECOND_TRY)",
    )


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


def _run(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    return copy_context().run(runtestprotocol, item, log=False, nextitem=nextitem)


def _may_try_again(item: pytest.Item) -> bool:
    return bool(item.config.option.second_try) and not is_among(NO_SECOND_TRY, item.path)


def _failure(reports: list[pytest.TestReport]) -> str:
    return "\n".join(each.longreprtext for each in reports if each.failed)
