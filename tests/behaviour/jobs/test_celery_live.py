"""Celery tasks in a real worker on a real Redis, with each pool that Celery brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.celery_worker import check_meeting, check_pool, live_celery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.full, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def service() -> None:
    """None in memory: publisher and worker read a file."""


def test_prefork(redis_server: RedisServer, tmp_path: Path, settings: Any) -> None:
    with live_celery("prefork", redis_server, tmp_path, settings) as live:
        check_pool(live)
        assert live.result_of(live.app.tasks["pid"].delay())[0] != live.pid


def test_threads(redis_server: RedisServer, tmp_path: Path, settings: Any) -> None:
    with live_celery("threads", redis_server, tmp_path, settings) as live:
        check_pool(live)
        check_meeting(live)
