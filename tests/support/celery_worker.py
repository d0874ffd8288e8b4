"""A Celery worker that is a process of its own, on a real broker, and what all pools must do."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from celery import chain, chord, group
from celery.exceptions import TimeoutError  # noqa: A004  # not Python's
from django.contrib.auth.models import User
from django.db import connection

from instance_lookup import AccessDenied, InstanceRequired, LookupUser, get_resolver, use_instance
from tests.support.celery_live import TOGETHER, make_live_app, site_settings
from tests.support.lookups import SECRET
from tests.support.running import started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer

SECONDS = 30


class LiveCelery:
    """A publisher's side of the site: its app, and the file with its instances."""

    def __init__(self, app: Any, instances: Path, log: Path) -> None:
        self.app, self.instances, self.log = app, instances, log
        self.pid = 0
        """The process id of the worker, who is the parent of the pool's processes."""

    def own(self, **owners: object) -> None:
        """Have each instance belong to a user, from now on, for all processes."""
        documents = [
            {
                "instance_id": instance_id,
                "api_keys": {"ideogram": SECRET},
                "metadata": {"owner": str(owner)},
            }
            for instance_id, owner in owners.items()
        ]
        # Whole at once, for processes that read it.
        written = self.instances.with_suffix(".new")
        written.write_text(json.dumps({"instances": documents}), encoding="utf-8")
        written.replace(self.instances)

    def result_of(self, task: Any) -> Any:
        try:
            return task.get(timeout=SECONDS, interval=0.01)
        except TimeoutError:
            self.fail()

    def fail(self) -> NoReturn:
        """Have the test fail, and show what the worker says."""
        pytest.fail(self.log.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def live_celery(
    pool: str, redis_server: RedisServer, directory: Path, settings: Any
) -> Iterator[LiveCelery]:
    """Run a worker with this pool, on a Redis that is emptied; end it by its pid."""
    redis_server.command("FLUSHALL")
    redis_url, instances, log = redis_server.url(), directory / "instances.json", directory / "log"
    for name, value in site_settings(redis_url, instances).items():
        setattr(settings, name, value)
    environ = {
        "CELERY_REDIS": redis_url,
        "CELERY_INSTANCES": str(instances),
        "CELERY_DATABASE": str(connection.settings_dict["NAME"]),
    }
    app = make_live_app(redis_url)
    live = LiveCelery(app, instances, log)
    live.own(acme="olga", globex="olga")
    words = ["celery", "--app", "tests.support.celery_live", "worker", "--pool", pool]
    words += ["--concurrency", str(TOGETHER), "--without-gossip", "--without-mingle"]
    words += ["--without-heartbeat", "--loglevel", "INFO"]
    try:
        with started(words, log, environ) as process:
            live.pid = process.pid
            wait_until(lambda: b" ready." in log.read_bytes() or process.poll() is not None)
            if process.returncode is not None:
                live.fail()
            yield live
    finally:
        app.close()


def check_pool(live: LiveCelery) -> None:
    """Check what tasks of a real worker see: of the right instance, for the user as of now."""
    check_canvas(live)
    check_side_by_side(live)
    check_revoked(live)
    log = live.log.read_text(encoding="utf-8", errors="replace")
    assert SECRET not in log


def check_canvas(live: LiveCelery) -> None:
    which, plain = live.app.tasks["which"], live.app.tasks["plain"]
    acmes = ["acme", "olga", "r7"]
    with use_instance("acme", user=LookupUser("olga"), request_id="r7"):
        tasks = [
            which.delay(),
            live.app.send_task("plain"),
            chain(which.s(), plain.s(), which.s())(),
            chord([which.s(), plain.s()])(which.s()),
            live.app.tasks["replaced"].delay(),
        ]
        both = group(which.s(), plain.s())()
        chunks = which.chunks([(1,), (2,)], 1)()
        retried = live.app.tasks["stubborn"].delay()
    assert [live.result_of(task) for task in tasks] == [acmes] * len(tasks)
    assert live.result_of(both) == [acmes, acmes]
    assert live.result_of(chunks) == [[acmes], [acmes]]
    assert live.result_of(retried) == 2


def check_side_by_side(live: LiveCelery) -> None:
    """Tasks that run at the same time, in one process or several, do not see each other's."""
    sent = []
    for instance_id in ["acme", "globex"] * 6:
        with use_instance(instance_id, user=LookupUser.service()):
            sent.append((instance_id, live.app.tasks["which"].delay()))
        sent.append(("no instance", live.app.tasks["plain"].delay()))
    for expected, task in sent:
        seen = live.result_of(task)
        assert (seen if isinstance(seen, str) else seen[0]) == expected
    with pytest.raises(InstanceRequired):
        live.result_of(live.app.tasks["which"].delay())


def check_meeting(live: LiveCelery) -> None:
    """Tasks that have all begun before the first ends: of threads, or greenlets, of one process."""
    sent = []
    for instance_id in ["acme", "globex"] * (TOGETHER // 2):
        with use_instance(instance_id, user=LookupUser.service()):
            sent.append((instance_id, live.app.tasks["meet"].delay()))
    for instance_id, task in sent:
        before, after = live.result_of(task)
        assert before == after
        assert before[0] == instance_id


def check_revoked(live: LiveCelery) -> None:
    """Published by the owner, who is not the owner any more when it runs."""
    ada, sam = (User.objects.create_user(name) for name in ("ada", "sam"))
    live.own(acme=ada.pk, globex="olga")
    get_resolver().invalidate_cache("acme")
    with use_instance("acme", user=ada):
        assert live.result_of(live.app.tasks["which"].delay())[1] == str(ada.pk)
        live.own(acme=sam.pk, globex="olga")
        get_resolver().invalidate_cache("acme")
        for name in ("which", "plain", "stubborn"):
            with pytest.raises(AccessDenied, match="You may not use instance 'acme'"):
                live.result_of(live.app.tasks[name].delay())
        live.own(acme=ada.pk, globex="olga")
        get_resolver().invalidate_cache("acme")
        User.objects.filter(pk=ada.pk).update(is_active=False)
        with pytest.raises(AccessDenied, match="is inactive"):
            live.result_of(live.app.tasks["which"].delay())
