"""Celery tasks in a worker of greenlets, which patches before the site is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.celery_worker import check_meeting, check_pool, live_celery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_gevent(redis_server: RedisServer, tmp_path: Path, settings: Any) -> None:
    with live_celery("gevent", redis_server, tmp_path, settings) as live:
        _, is_patched = live.result_of(live.app.tasks["pid"].delay())
        assert is_patched
        check_pool(live)
        check_meeting(live)
