"""What is enqueued in an instance runs in it: for its user, if they may have it by then."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections import ChainMap
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from instance_lookup import AccessDenied, InstanceRequired, LookupUser, get_resolver, use_instance
from instance_lookup.contrib.django_tasks import CARRIED, install, instance_task
from instance_lookup.middleware import InstanceConfigMiddleware
from tests.support import task_site as site
from tests.support.doors import owned_by
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.django_db(transaction=True)


def enqueue(task: Any, *args: Any, **kwargs: Any) -> Any:
    """Enqueue a task, as sync code does."""
    return task.enqueue(*args, **kwargs)


def aenqueue(task: Any, *args: Any, **kwargs: Any) -> Any:
    """Enqueue a task in an event loop."""
    return asyncio.run(task.aenqueue(*args, **kwargs))


TWINS = pytest.mark.parametrize("put", [enqueue, aenqueue])
KINDS = pytest.mark.parametrize("task", ["where", "awhere"])
TASKS = {"default": site.backend("immediate"), "later": site.backend("dummy")}


@pytest.fixture(autouse=True)
def _queues(settings: Any) -> None:
    settings.TASKS = TASKS


@pytest.fixture
def olga(users: dict[str, User]) -> User:
    return users["olga"]


def worked(result: Any) -> Any:
    """Return what the task returned."""
    assert result.status == "SUCCESSFUL", result.errors
    return result.return_value


def failed(result: Any) -> type[BaseException]:
    """Return the class of the error that the task ended with; no key is in its traceback."""
    (error,) = result.errors
    assert SECRET not in error.traceback
    kind: type[BaseException] = error.exception_class
    return kind


def run(result: Any) -> Any:
    """Run, as a worker does, what was enqueued to be run later: from JSON, with nothing current."""
    kept = json.loads(json.dumps([result.args, result.kwargs]))
    first = []
    if result.task.takes_context:
        first = [type("Context", (), {"attempt": 1})()]
    return result.task.call(*first, *kept[0], **kept[1])


@TWINS
@KINDS
def test_task_runs_in_the_instance_of_its_block(put: Any, task: str, olga: User) -> None:
    with use_instance("acme", user=olga, request_id="r-1"):
        result = put(getattr(site, task), 1, name="x")
    assert worked(result) == [["acme", str(olga.pk), "r-1"], [1], {"name": "x"}]


@TWINS
@KINDS
def test_task_runs_in_the_instance_of_its_request(put: Any, task: str, olga: User) -> None:
    results = []

    def view(request: Any) -> HttpResponse:
        results.append(put(getattr(site, task)))
        return HttpResponse()

    headers = {"X-Instance-ID": "acme", "X-Request-ID": "r-2"}
    request: Any = RequestFactory().get("/", headers=headers)
    request.user = olga
    InstanceConfigMiddleware(view)(request)
    assert worked(results[0])[0] == ["acme", str(olga.pk), "r-2"]


@KINDS
def test_task_runs_for_the_user_of_drf(task: str, olga: User, users: dict[str, User]) -> None:
    """In a DRF view its user decides, and not the one of the session."""

    class Start(APIView):
        permission_classes = ()

        def post(self, request: Any) -> Response:
            return Response(getattr(site, task).enqueue().return_value)

    request: Any = APIRequestFactory().post("/", headers={"X-Instance-ID": "acme"})
    request.user = users["sam"]
    force_authenticate(request, olga)
    view: Any = Start.as_view()
    response: Any = InstanceConfigMiddleware(view)(request)
    assert response.data[0][:2] == ["acme", str(olga.pk)]


@TWINS
@KINDS
def test_task_runs_later_from_what_the_queue_kept(put: Any, task: str, olga: User) -> None:
    """The worker has no block and no request; tuples and bytes have become JSON meanwhile."""
    arguments = [(1, [2.0, {"three": None}]), b"four", {5: True}]
    with use_instance("acme", user=olga):
        result = put(getattr(site, task).using(backend="later", priority=7), *arguments, six=6)
    assert (result.status, result.task.priority) == ("READY", 7)
    where, args, kwargs = run(result)
    assert where[:2] == ["acme", str(olga.pk)]
    assert args == [[1, [2.0, {"three": None}]], "four", {"5": True}]
    assert kwargs == {"six": 6}


@pytest.mark.parametrize("task", ["leaves", "aleaves"])
def test_nothing_that_a_task_leaves_is_current_after_it(task: str, olga: User) -> None:
    """A worker has the next task run in the same context, which may be another tenant's."""
    with use_instance("acme", user=olga):
        result = getattr(site, task).using(backend="later").enqueue()
    assert run(result) == "acme"
    with pytest.raises(InstanceRequired):
        site.where.call()
    site.LEFT.pop().close()


@TWINS
def test_site_itself_and_users_without_a_row_are_carried(put: Any, olga: User) -> None:
    for user in (LookupUser.service(), LookupUser(str(olga.pk))):
        with use_instance("acme", user=user):
            assert worked(put(site.where))[0][:2] == ["acme", user.user_id]


@TWINS
def test_context_is_no_argument(put: Any, olga: User) -> None:
    with use_instance("acme", user=olga):
        assert worked(put(site.with_context, 7))[1:] == [1, 7]
        later = put(site.with_context.using(backend="later"), 7)
    assert run(later)[1:] == [1, 7]


def test_task_that_a_task_enqueues_is_of_the_same_instance(olga: User) -> None:
    with use_instance("acme", user=olga, request_id="r-3"):
        chain = worked(site.passes_on.enqueue(2))
    assert chain == [["acme", str(olga.pk), "r-3"]] * 3


@TWINS
@KINDS
def test_nothing_is_enqueued_where_no_instance_is(put: Any, task: str, olga: User) -> None:
    with pytest.raises(InstanceRequired, match="runs in an instance, and none is current here"):
        put(getattr(site, task))


@TWINS
@KINDS
def test_user_who_lost_it_meanwhile_is_denied(
    put: Any, task: str, olga: User, users: dict[str, User], service: DictConfigService
) -> None:
    """Whether they may have it is asked at the moment of running."""
    with use_instance("acme", user=olga):
        result = put(getattr(site, task).using(backend="later"))
    assert run(result)
    service.instances["acme"] = owned_by(users["sam"])
    get_resolver().cache.invalidate("acme")
    with pytest.raises(AccessDenied):
        run(result)


@TWINS
@KINDS
def test_user_who_is_inactive_or_gone_is_denied(put: Any, task: str, olga: User) -> None:
    with use_instance("acme", user=olga):
        result = put(getattr(site, task).using(backend="later"))
    olga.is_active = False
    olga.save()
    with pytest.raises(AccessDenied, match="inactive"):
        run(result)
    olga.delete()
    with pytest.raises(AccessDenied, match="gone"):
        run(result)


@TWINS
@pytest.mark.parametrize("task", ["administer", "aadminister"])
def test_policy_of_the_task_is_asked(put: Any, task: str, olga: User) -> None:
    """The owner may have the instance, and may not do this in it: the task fails."""
    with use_instance("acme", user=olga):
        assert issubclass(failed(put(getattr(site, task))), AccessDenied)
    olga.is_superuser = True
    olga.save()
    with use_instance("acme", user=olga):
        assert worked(put(getattr(site, task)))[0] == "acme"


def _changed(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, CARRIED: kwargs[CARRIED][:-1] + "~"}


FORGERIES: list[Any] = [
    pytest.param(lambda args, kwargs: ([2], kwargs), id="another argument"),
    pytest.param(lambda args, kwargs: (args, {**kwargs, "more": 1}), id="one more"),
    pytest.param(lambda args, kwargs: ([], {**kwargs, "number": 1}), id="by name"),
    pytest.param(lambda args, kwargs: (args, _changed(kwargs)), id="another signature"),
    pytest.param(lambda args, kwargs: (args, {CARRIED: ""}), id="an empty one"),
]


@KINDS
@pytest.mark.parametrize("forge", FORGERIES)
def test_what_a_queue_has_changed_is_refused(
    task: str, forge: Callable[..., Any], olga: User
) -> None:
    """Who can write to the queue is not the site."""
    with use_instance("acme", user=olga):
        result = getattr(site, task).using(backend="later").enqueue(1)
    args, kwargs = forge(result.args, result.kwargs)
    with pytest.raises(AccessDenied, match="not signed by this site for this job"):
        result.task.call(*args, **kwargs)


@KINDS
def test_signature_of_another_task_is_refused(task: str, olga: User) -> None:
    with use_instance("acme", user=olga):
        result = site.of_a_package.using(backend="later").enqueue(1)
    with pytest.raises(AccessDenied, match="not signed"):
        getattr(site, task).call(*result.args, **result.kwargs)


@KINDS
def test_what_carries_nothing_runs_in_nothing(task: str, olga: User) -> None:
    """Whoever removes the signature from the queue gets no instance for it."""
    with pytest.raises(InstanceRequired):
        getattr(site, task).call(1)


@KINDS
def test_call_without_a_queue_runs_in_what_is_current(task: str, olga: User) -> None:
    with use_instance("acme", user=olga):
        assert getattr(site, task).call(1)[:2] == [["acme", str(olga.pk), None], [1]]


@pytest.mark.parametrize(
    ("kept", "read"),
    [(5.0, 5), (1e30, int(1e30)), (-0.0, 0), (1e-7, 0.0000001), ({"a": 1, "b": 2.5}, None)],
)
def test_numbers_that_a_database_writes_otherwise(kept: Any, read: Any, olga: User) -> None:
    """PostgreSQL's ``jsonb`` orders keys, and gives ``1e30`` back as an integer."""
    with use_instance("acme", user=olga):
        result = site.where.using(backend="later").enqueue(kept)
    read = dict(reversed(kept.items())) if read is None else read
    assert result.task.call(read, **result.kwargs)[1] == [read]


def test_argument_that_is_no_json_is_refused_at_once(olga: User) -> None:
    with use_instance("acme", user=olga), pytest.raises(TypeError, match="must be JSON, not set"):
        site.where.enqueue({1})


def test_arguments_as_the_package_takes_them(olga: User) -> None:
    """Mappings and sequences of any kind, which it makes dicts and lists of."""
    with use_instance("acme", user=olga):
        result = site.where.using(backend="later").enqueue(ChainMap({"a": 1}), range(2))
    assert run(result)[1] == [{"a": 1}, [0, 1]]


def test_nothing_that_is_kept_holds_a_key(olga: User) -> None:
    with use_instance("acme", user=olga) as config:
        result = site.where.using(backend="later").enqueue()
    assert SECRET in config.api_keys.values()
    assert SECRET not in json.dumps(result.kwargs)
    assert [*result.kwargs] == [CARRIED]


@TWINS
@pytest.mark.parametrize("task", ["of_a_package", "of_a_package_async"])
def test_installed_task_carries_where_there_is_an_instance(
    put: Any, task: str, olga: User, service: DictConfigService
) -> None:
    installed = getattr(site, task)
    assert worked(put(installed, 1)) == ["none", 1]
    with use_instance("acme", user=olga):
        assert worked(put(installed, 1)) == ["acme", str(olga.pk), None, 1]
        later = put(installed.using(backend="later"), 1)
    assert run(later) == ["acme", str(olga.pk), None, 1]
    olga.delete()
    with pytest.raises(AccessDenied):
        run(later)


def test_tasks_are_what_they_were(olga: User) -> None:
    """Backends and their workers look at the class, the path and the options."""
    assert isinstance(site.where, site.Task)
    assert type(site.where).__name__ == "Task"
    assert site.where.module_path == "tests.support.task_site.where"
    assert site.awhere.priority == 5
    assert site.with_context.takes_context


def test_task_survives_a_pickle(olga: User) -> None:
    """Queues that pickle find the task by its path."""
    again = pickle.loads(pickle.dumps(site.awhere.using(backend="later")))
    assert again == site.awhere.using(backend="later")
    assert again.func is site.awhere.func


@pytest.mark.parametrize("wrap", [instance_task, install])
def test_mistakes_are_told(wrap: Any) -> None:
    with pytest.raises(TypeError, match="put it above @task"):
        wrap(seen)
    with pytest.raises(TypeError, match=r"task_site\.where carries its instance already"):
        wrap(site.where)


def seen() -> None:
    """Stand for a function that is no task."""


async def test_blocks_of_an_event_loop(olga: User) -> None:
    """Tasks of two blocks that run at the same time know their own."""

    async def work(request_id: str) -> Any:
        async with use_instance("acme", user=olga, request_id=request_id):
            result = await site.awhere.aenqueue()
        return (await sync_to_async(worked)(result))[0][2]

    names = [f"r-{number}" for number in range(5)]
    assert await asyncio.gather(*map(work, names)) == names
