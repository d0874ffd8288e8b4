"""Celery tasks in a worker of this process: what messages carry from publisher to worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from celery import chain, chord, group
from celery.beat import Scheduler
from celery.schedules import schedule
from celery.signals import before_task_publish
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import RequestFactory
from kombu.exceptions import EncodeError

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceRequired,
    LookupUser,
    current_instance,
    get_resolver,
    use_instance,
)
from instance_lookup.contrib.celery.messages import HEADER
from instance_lookup.contrib.celery.tasks import refresh_instances, warm_instances
from instance_lookup.jobs.carried import Carried, sign
from instance_lookup.jobs.job import running_job
from instance_lookup.logging import RequestFilter
from instance_lookup.middleware import InstanceConfigMiddleware
from tests.support.celery_site import NOTED, make_app, worker_in_a_thread
from tests.support.doors import OLGA, SAM, owned_by
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.memory import DictConfigService

# All: pytest-django would run one of them apart, for which another worker would start.
pytestmark = pytest.mark.django_db(transaction=True)

OLGAS = LookupUser("olga")
ACMES = ["acme", "olga", "r7"]
SECONDS = 20


LEFT: list[Any] = []
"""Generators that have not ended."""


def leave_current(what: str) -> None:
    """Work as code does that leaves a ``block``, or a ``request``, of globex behind."""
    if what == "block":

        def rows() -> Iterator[None]:
            with use_instance("globex", user=LookupUser.service()):
                yield

        LEFT.append(rows())
        next(LEFT[-1])
    else:
        request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "globex"})
        request.user = OLGA
        InstanceConfigMiddleware(lambda request: HttpResponse())(request)
    assert what == "request" or current_instance().instance_id == "globex"


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    """An app with a worker, which is a thread of this process."""
    app = make_app()
    app.task(name="leaves", shared=False)(leave_current)
    with worker_in_a_thread(app):
        yield app
    app.close()


@pytest.fixture(autouse=True)
def _two_instances(service: DictConfigService) -> None:
    service.instances["globex"] = owned_by(OLGA, instance_id="globex")


@pytest.fixture
def messages() -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Headers and bodies of what is published."""
    published: list[tuple[dict[str, Any], Any]] = []

    def note(headers: dict[str, Any], body: Any, **kwargs: object) -> None:
        published.append((headers, body))

    before_task_publish.connect(note)
    yield published
    before_task_publish.disconnect(note)


def result_of(task: Any) -> Any:
    return task.get(timeout=SECONDS, interval=0.005)


@pytest.fixture
def acme() -> Iterator[None]:
    """A block in Olga's instance."""
    with use_instance("acme", user=OLGAS, request_id="r7"):
        yield


@pytest.mark.parametrize("name", ["which", "plain", "by_base"])
@pytest.mark.usefixtures("acme")
def test_worker_works_for_whom_it_was_published(app: Any, name: str) -> None:
    assert result_of(app.tasks[name].delay()) == ACMES
    assert result_of(app.send_task(name)) == ACMES
    assert result_of(app.signature(name).apply_async(countdown=0)) == ACMES


def test_nothing_is_left_for_the_next_task(app: Any) -> None:
    with use_instance("globex", user=LookupUser.service()):
        assert result_of(app.tasks["which"].delay()) == ["globex", "the site", None]
        with pytest.raises(ZeroDivisionError):
            result_of(app.tasks["fails"].delay())
    assert result_of(app.tasks["plain"].delay()) == "no instance"
    with pytest.raises(InstanceRequired, match="Task 'which' needs an instance"):
        result_of(app.tasks["which"].delay())
    with pytest.raises(InstanceRequired, match="No instance is current here"):
        result_of(app.tasks["asks"].delay())
    assert running_job() is None


@pytest.mark.parametrize("what", ["block", "request"])
def test_nothing_that_a_task_leaves_is_current_after_it(app: Any, what: str) -> None:
    """An unfinished generator's block, or a request that no server ends, is another tenant's."""
    leaves, plain, asks = (app.tasks[name] for name in ("leaves", "plain", "asks"))
    with use_instance("acme", user=OLGAS, request_id="r7"):
        assert result_of(chain(leaves.si(what), plain.si())()) == ACMES
    result_of(leaves.delay(what))
    assert result_of(plain.delay()) == "no instance"
    with pytest.raises(InstanceRequired):
        result_of(asks.delay())


@pytest.mark.parametrize("name", ["fails", "for_admins"])
@pytest.mark.usefixtures("acme")
def test_log_line_of_a_failure_names_its_instance(
    app: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery logs it after the function has ended, or before it has begun."""
    caplog.handler.addFilter(names := RequestFilter())
    with pytest.raises((ZeroDivisionError, AccessDenied)):
        result_of(app.tasks[name].delay())
    result_of(app.tasks["plain"].delay())
    caplog.handler.removeFilter(names)
    [line] = [each for each in caplog.records if each.name == "celery.app.trace"]
    assert (line.__dict__["instance_id"], line.__dict__["request_id"]) == ("acme", "r7")


def test_async_code_publishes_and_works(app: Any) -> None:
    async def publish() -> Any:
        async with use_instance("acme", user=OLGAS, request_id="r7"):
            return app.tasks["which"].delay(), app.tasks["async_inside"].delay()

    which, async_inside = async_to_sync(publish)()
    assert result_of(which) == ACMES
    assert result_of(async_inside) == "acme"


def test_beat_carries_nothing(app: Any) -> None:
    beat = Scheduler(app=app, lazy=True)

    def published_by_beat(name: str) -> Any:
        entry = beat.Entry(name=name, task=name, schedule=schedule(60.0), app=app)
        return beat.apply_async(entry, advance=False)

    assert result_of(published_by_beat("plain")) == "no instance"
    with pytest.raises(InstanceRequired, match="Task 'which' needs an instance"):
        result_of(published_by_beat("which"))


@pytest.mark.usefixtures("acme")
def test_canvas_carries_on(app: Any) -> None:
    """Chains, groups, chords, what replaces a task, maps: published by the worker itself."""
    which, plain, replaced = (app.tasks[name] for name in ("which", "plain", "replaced"))
    assert result_of(chain(which.s(), plain.s(), which.s())()) == ACMES
    assert result_of(group(which.s(), plain.s())()) == [ACMES, ACMES]
    assert result_of(chord([which.s(), plain.s()])(which.s())) == ACMES
    assert result_of(chain(which.s(), group(which.s(), plain.s()), which.s())()) == ACMES
    assert result_of(replaced.delay()) == ACMES
    assert result_of(which.chunks([(1,), (2,), (3,)], 2)()) == [[ACMES, ACMES], [ACMES]]
    assert result_of(plain.starmap([(1,), (2,)]).delay()) == [ACMES, ACMES]


@pytest.mark.usefixtures("acme")
def test_callbacks_and_what_a_task_publishes_carry_on(app: Any) -> None:
    child = app.AsyncResult(result_of(app.tasks["publishes"].delay("which")))
    assert result_of(child) == ACMES
    linked = app.signature("which")
    linked_id = linked.freeze().id
    app.tasks["plain"].apply_async(link=linked)
    assert result_of(app.AsyncResult(linked_id)) == ACMES
    published = app.signature("by_base", immutable=True)
    published_id = published.freeze().id
    app.tasks["fails"].apply_async(link_error=[published, app.signature("note")])
    assert result_of(app.AsyncResult(published_id)) == ACMES
    assert [[ZeroDivisionError, *ACMES]] == NOTED
    NOTED.clear()


@pytest.mark.usefixtures("acme")
def test_retries_carry_on(app: Any) -> None:
    assert result_of(app.tasks["stubborn"].delay()) == 2


@pytest.mark.parametrize("name", ["stubborn", "which", "plain"])
def test_user_who_has_lost_the_instance_is_refused_once(
    app: Any, name: str, service: DictConfigService, messages: list[Any]
) -> None:
    """By the state of when it runs, whatever the task retries after."""
    with use_instance("acme", user=OLGAS):
        service.instances["acme"] = owned_by(SAM)
        get_resolver().invalidate_cache("acme")
        task = app.tasks[name].delay()
    with pytest.raises(AccessDenied, match="You may not use instance 'acme'"):
        result_of(task)
    assert (task.state, len(messages)) == ("FAILURE", 1)
    assert SECRET not in str(task.traceback)


def test_user_is_loaded_by_the_worker(app: Any, service: DictConfigService) -> None:
    ada = User.objects.create_user("ada")
    service.instances["acme"] = owned_by(ada)
    with use_instance("acme", user=ada):
        assert result_of(app.tasks["which"].delay())[1] == str(ada.pk)
        with pytest.raises(AccessDenied, match="You may not do this"):
            result_of(app.tasks["for_admins"].delay())
        User.objects.filter(pk=ada.pk).update(is_superuser=True)
        assert result_of(app.tasks["for_admins"].delay())[1] == str(ada.pk)
        # Past models that other tests make.
        User.objects.filter(pk=ada.pk)._raw_delete("default")
        with pytest.raises(AccessDenied, match="is gone"):
            result_of(app.tasks["which"].delay())


Forge = Callable[[dict[str, Any]], object]


@pytest.fixture
def forged() -> Iterator[list[Forge]]:
    """What puts the header into messages on their way, as who writes to the broker can do."""
    forges: list[Forge] = []

    def change(headers: dict[str, Any], **kwargs: object) -> None:
        for forge in forges:
            headers[HEADER] = forge(headers)

    before_task_publish.connect(change)
    yield forges
    before_task_publish.disconnect(change)


@pytest.mark.parametrize("name", ["which", "plain", "by_base"])
@pytest.mark.usefixtures("acme")
def test_broker_is_no_authority(app: Any, name: str, forged: list[Forge]) -> None:
    """What was signed for another task, or by nobody, fails the task: it does not run without."""
    globex = Carried("globex", "site")
    makes: list[Forge] = [
        lambda headers: sign(globex, headers["task"], "another id"),
        lambda headers: sign(globex, "another task", headers["id"]),
        lambda headers: '{"instance_id": "globex"}',
        lambda headers: 7,
    ]
    for make in makes:
        forged[:] = [make]
        with pytest.raises(AccessDenied, match=f"The instance of job {name} .* is not signed"):
            result_of(app.tasks[name].delay())


@pytest.mark.usefixtures("acme")
def test_forged_message_of_a_task_that_runs_others(app: Any, forged: list[Forge]) -> None:
    forged.append(lambda headers: "forged")
    with pytest.raises(AccessDenied):
        result_of(app.tasks["which"].map([1]).delay())


def test_header_of_the_publishers_own_does_not_count(app: Any) -> None:
    headers = result_of(app.tasks["headers"].apply_async(headers={HEADER: "mine", "other": "1"}))
    assert HEADER not in headers
    assert headers["other"] == "1"


@pytest.mark.usefixtures("acme")
def test_message_and_result_hold_no_key(app: Any, messages: list[Any]) -> None:
    task = app.tasks["which"].delay(["an argument"])
    result_of(task)
    [(headers, body)] = messages
    assert set(Carried.__struct_fields__) == {"instance_id", "kind", "user_id", "request_id"}
    assert SECRET not in json.dumps([headers, body]) + repr(app.backend._cache)
    with pytest.raises(EncodeError):
        app.tasks["which"].delay(current_instance())


def test_task_waits_for_the_service_and_gives_up_at_last(
    app: Any, outage: list[int], monkeypatch: pytest.MonkeyPatch, messages: list[Any]
) -> None:
    """Each retry is a message that carries on."""
    monkeypatch.setattr("instance_lookup.fetching.fetcher.RETRY_AFTER", 0.0)
    task = app.tasks["which"]
    monkeypatch.setattr(task, "default_retry_delay", 0)
    monkeypatch.setattr(task, "max_retries", 1)
    with use_instance("acme", user=OLGAS, request_id="r7"):
        get_resolver().invalidate_cache("acme")
        outage.append(1)
        assert result_of(task.delay()) == ACMES
        get_resolver().invalidate_cache("acme")
        outage[:] = range(9)
        with pytest.raises(ConfigServiceUnavailable, match="is not available at the moment"):
            result_of(task.delay())
    assert len(messages) == 4
    assert len({headers["id"] for headers, _ in messages}) == 2
    assert all(headers[HEADER] for headers, _ in messages)


@pytest.mark.usefixtures("acme")
def test_warming_goes_on_under_one_id(app: Any, messages: list[Any]) -> None:
    """In chunks, each a message; and though none of them works in an instance."""
    get_resolver().invalidate_all_caches()
    warm = app.tasks[warm_instances.name]
    report = result_of(warm.delay(["acme", "globex", "nowhere"], rate=None, chunk=1))
    assert (report["done"], report["failed"]) == (2, 1)
    assert get_resolver().cache.has("acme")
    assert get_resolver().cache.has("globex")
    assert len(messages) == 3
    assert len({headers["id"] for headers, _ in messages}) == 1
    get_resolver().cache.expire("globex")
    refresh = app.tasks[refresh_instances.name]
    report = result_of(refresh.delay(["acme", "globex"], rate=None, chunk=1))
    assert report == {"done": 1, "failed": 0, "failures": [], "skipped": 1}
