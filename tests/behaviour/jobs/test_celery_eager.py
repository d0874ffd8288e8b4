"""Celery tasks that run eagerly, in a request, in a block, and where nothing is current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task, chain, chord, group
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework.authentication import BaseAuthentication
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceRequired,
    InvalidContext,
    LookupUser,
    current_instance,
    get_resolver,
    use_instance,
)
from instance_lookup.access import IsAdmin
from instance_lookup.contrib.celery import InstanceTask, install, instance_task
from instance_lookup.jobs.publishing import carried_now
from instance_lookup.middleware import InstanceConfigMiddleware
from instance_lookup.testing import override_instance_config
from tests.support.celery_site import make_app, seen
from tests.support.doors import OLGA, SAM, owned_by
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import DjangoCaptureOnCommitCallbacks

    from instance_lookup.backends.memory import DictConfigService

OLGAS = LookupUser("olga")


@pytest.fixture(autouse=True)
def _two_instances(service: DictConfigService) -> None:
    service.instances["globex"] = owned_by(OLGA, instance_id="globex")


@pytest.fixture(scope="module")
def app() -> Any:
    return make_app(task_always_eager=True)


def in_request(view: Callable[[Any], Any], user: Any, instance_id: str = "acme") -> Any:
    """Return what ``view`` returns for a request of this user."""
    answers = []

    def answer(request: Any) -> HttpResponse:
        answers.append(view(request))
        return HttpResponse()

    request: Any = RequestFactory().get(
        "/", headers={"X-Instance-ID": instance_id, "X-Request-ID": "r1"}
    )
    request.user = user
    InstanceConfigMiddleware(answer)(request)
    return answers[0]


def test_task_works_in_the_block_around_it(app: Any) -> None:
    with use_instance("acme", user=OLGAS, request_id="r7"):
        assert app.tasks["which"].delay().get() == ["acme", "olga", "r7"]
        assert app.tasks["plain"].delay().get() == ["acme", "olga", "r7"]
        with use_instance("globex", user=LookupUser.service()):
            assert app.tasks["which"].delay().get() == ["globex", "the site", None]
        assert carried_now() is not None
    assert carried_now() is None


@pytest.mark.parametrize("name", ["which", "plain", "by_base"])
@pytest.mark.django_db
def test_task_works_in_the_request_around_it(app: Any, name: str, users: Any) -> None:
    task, olga = app.tasks[name], users["olga"]
    assert in_request(lambda _: task.delay().get(), olga) == ["acme", str(olga.pk), "r1"]


@pytest.mark.parametrize("name", ["which", "plain"])
def test_user_whom_a_view_of_drf_authenticates(app: Any, name: str, users: Any) -> None:
    """Django's request is anonymous until then."""

    class OlgasToken(BaseAuthentication):
        def authenticate(self, request: Any) -> Any:
            return users["olga"], None

    class Export(APIView):
        authentication_classes = (OlgasToken,)

        def get(self, request: Any) -> Response:
            return Response(app.tasks[name].delay().get())

    seen = in_request(lambda request: Export.as_view()(request).data, AnonymousUser())
    assert seen == ["acme", str(users["olga"].pk), "r1"]


@pytest.mark.django_db
def test_publisher_hears_at_once_that_the_request_has_no_instance(app: Any, users: Any) -> None:
    """Not the worker an hour later. A task that can do without one goes on without."""
    for user, instance_id, error in [
        (users["sam"], "acme", AccessDenied),
        (users["olga"], "a,b", InvalidContext),
    ]:

        def view(request: Any, error: Any = error) -> Any:
            with pytest.raises(error):
                app.tasks["which"].delay()
            with pytest.raises(error):
                app.tasks["which"].apply_async_on_commit()
            return app.tasks["plain"].delay().get()

        assert in_request(view, user, instance_id) == "no instance"


@pytest.mark.parametrize("name", ["by_base", "asks"])
def test_override_holds_in_tasks(app: Any, name: str) -> None:
    """As in views: a site's tests need no log-in, for tasks that cannot change neither."""
    task = app.tasks[name]
    with override_instance_config("studio"):
        assert "studio" in in_request(lambda _: task.delay().get(), AnonymousUser())
        with use_instance("any", user=OLGAS):
            assert "studio" in task.delay().get()


def test_user_is_loaded_when_it_runs(app: Any, users: Any) -> None:
    """In eager mode, too, so that tests of a site see what its workers do."""
    olga = users["olga"]
    with use_instance("acme", user=olga):
        assert app.tasks["which"].delay().get()[1] == str(olga.pk)
        User.objects.filter(pk=olga.pk).update(is_active=False)
        for name in ("which", "plain"):
            with pytest.raises(AccessDenied, match="is inactive"):
                app.tasks[name].delay().get()


@pytest.mark.parametrize("name", ["which", "for_admins", "by_base", "of_own_base"])
def test_task_without_an_instance_fails(app: Any, name: str) -> None:
    with pytest.raises(InstanceRequired, match=f"Task '{name}' needs an instance"):
        app.tasks[name].delay().get()
    with pytest.raises(InstanceRequired, match="No instance is current here"):
        app.tasks[name]()


def test_task_that_cannot_change_fails_where_it_asks(app: Any) -> None:
    assert app.tasks["plain"].delay().get() == "no instance"
    with pytest.raises(InstanceRequired):
        app.tasks["asks"].delay().get()


def test_policy_of_the_task_counts(app: Any, users: Any) -> None:
    task, olga = app.tasks["for_admins"], users["olga"]
    with use_instance("acme", user=olga):
        with pytest.raises(AccessDenied, match="You may not do this in instance 'acme'"):
            task.delay().get()
        with pytest.raises(AccessDenied, match="You may not do this in instance 'acme'"):
            task()
    with pytest.raises(AccessDenied, match="You may not do this in instance 'acme'"):
        in_request(lambda request: task(), olga)
    User.objects.filter(pk=olga.pk).update(is_superuser=True)
    olga.refresh_from_db()
    with use_instance("acme", user=olga):
        assert task.delay().get()[0] == "acme"
        assert task()[0] == "acme"
    assert in_request(lambda request: task(), olga)[0] == "acme"


def test_direct_call_works_in_what_is_current(app: Any) -> None:
    """It is a function call: for the very user, with the roles that they have."""
    with use_instance("acme", user=LookupUser("ada", roles=["admin"])):
        for name in ("which", "plain", "by_base"):
            assert app.tasks[name]() == ["acme", "ada", None]
        assert app.tasks["for_admins"]()[1] == "ada"


def test_base_of_the_projects_own_is_kept(app: Any) -> None:
    with use_instance("acme", user=OLGAS):
        assert app.tasks["of_own_base"].delay().get() == ["own", ["acme", "olga", None]]
        assert app.tasks["class_based"].delay().get() == ["class", ["acme", "olga", None]]


def test_base_that_is_an_instance_task_is_taken_as_it_is(app: Any) -> None:
    class Base(InstanceTask):
        abstract = True

    task = instance_task(app=app, shared=False, base=Base, name="one")(seen)
    assert task.__class__.__bases__ == (Base,)


def test_denied_task_is_not_retried(app: Any, service: DictConfigService) -> None:
    with use_instance("acme", user=OLGAS):
        assert app.tasks["stubborn"].delay().get() == 2, "others are"
        service.instances["acme"] = owned_by(SAM)
        get_resolver().invalidate_cache("acme")
        result = app.tasks["stubborn"].delay()
    assert (result.state, type(result.result)) == ("FAILURE", AccessDenied)


def test_denial_inside_the_function_is_not_retried(app: Any) -> None:
    tries = []

    @instance_task(app=app, shared=False, autoretry_for=(Exception,), dont_autoretry_for=[KeyError])
    def enters_another() -> None:
        tries.append(1)
        with use_instance("globex", user=LookupUser("sam")):
            raise AssertionError

    with use_instance("acme", user=OLGAS), pytest.raises(AccessDenied):
        enters_another.delay().get()
    assert tries == [1]
    assert enters_another.dont_autoretry_for[0] is KeyError


@pytest.mark.parametrize("name", ["which", "plain"])
def test_task_is_retried_while_the_service_has_no_answer(
    app: Any, name: str, outage: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not begun, so that does no harm; what has waited long enough fails."""
    task = app.tasks[name]
    with use_instance("acme", user=OLGAS):
        for max_retries, calls in [(3, 2), (1, 1)]:
            monkeypatch.setattr(task, "max_retries", max_retries)
            outage[:] = range(calls)
            get_resolver().invalidate_cache("acme")
            assert task.delay().get() == ["acme", "olga", None]
            assert outage == []
        outage[:] = range(3)
        get_resolver().invalidate_cache("acme")
        with pytest.raises(ConfigServiceUnavailable):
            task.delay().get()
    assert outage == [0]


@pytest.mark.parametrize("name", ["which", "plain"])
@pytest.mark.parametrize("error", [InterfaceError, OperationalError])
def test_task_is_retried_while_the_database_has_no_answer(
    app: Any, name: str, error: type[Exception], users: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not begun, since its user could not be loaded."""
    task, olga, accounts = app.tasks[name], users["olga"], User._default_manager
    broken = [error("server closed the connection"), error("still")]

    def filtered(**condition: Any) -> Any:
        if broken:
            raise broken.pop()
        return QuerySet(User).filter(**condition)

    monkeypatch.setattr(accounts, "filter", filtered, raising=False)
    with use_instance("acme", user=olga):
        assert task.delay().get() == ["acme", str(olga.pk), None]
        assert broken == []
        broken[:] = [error("down")] * 9
        with pytest.raises(error):
            task.delay().get()


def test_canvas(app: Any) -> None:
    """Each task of a chain, group, chord and map, and each callback."""
    which, plain = app.tasks["which"], app.tasks["plain"]
    expected = ["acme", "olga", "r7"]
    with use_instance("acme", user=OLGAS, request_id="r7"):
        assert chain(which.s(), plain.s(), which.s())().get() == expected
        assert group(which.s(), plain.s())().get() == [expected, expected]
        assert chord([which.s(), plain.s()], which.s())().get() == expected
        assert which.map([1, 2]).apply().get() == [expected, expected]
        assert which.chunks([(1,), (2,)], 1)().get() == [[expected], [expected]]
        assert plain.map([1]).apply().get() == [expected]
        assert shared_eager(app) == expected


def shared_eager(app: Any) -> Any:
    @instance_task
    def shared() -> Any:
        return seen()

    app.set_current()
    return shared.delay().get()


def test_map_fails_where_the_service_has_no_answer(app: Any, outage: list[int]) -> None:
    with use_instance("acme", user=OLGAS):
        outage[:] = range(9)
        get_resolver().invalidate_cache("acme")
        with pytest.raises(ConfigServiceUnavailable):
            app.tasks["which"].map([1, 2]).apply().get()


def test_on_commit_keeps_the_block_that_was_current(
    app: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks, db: None
) -> None:
    """The transaction may end after the block."""
    done: list[Any] = []

    @instance_task(app=app, shared=False)
    def notes(word: str) -> None:
        done.append([word, *seen()])

    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        with use_instance("acme", user=OLGAS):
            notes.delay_on_commit("delay")
            notes.apply_async_on_commit(["apply"])
        assert done == []
    assert done == [["delay", "acme", "olga", None], ["apply", "acme", "olga", None]]


async def test_event_loop_is_not_blocked_by_a_lookup(app: Any) -> None:
    def view(request: Any) -> Any:
        with pytest.raises(SynchronousOnlyOperation):
            app.tasks["which"].delay()
        return app.tasks["plain"].delay().get()

    assert in_request(view, OLGA) == "no instance"


def test_site_whose_users_cannot_be_told_still_runs_what_needs_none(
    app: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery logs the error, with its traceback."""

    def user_context(user: Any, request: Any = None) -> LookupUser:
        raise ZeroDivisionError

    settings.INSTANCE_LOOKUP |= {"USER_CONTEXT": user_context}
    assert in_request(lambda request: app.tasks["plain"].delay().get(), OLGA) == "no instance"
    assert "ZeroDivisionError" in caplog.text


def test_install_covers_tasks_of_before_and_after() -> None:
    """Once each, however often it is called; not those of Celery itself."""
    app = Celery("one", set_as_current=False, task_always_eager=True)
    app.conf.task_annotations = {"*": {"rate_limit": "7/s"}}
    before = app.task(shared=False, name="before")(seen)
    assert before.name == "before"
    app.finalize()
    install(app)
    install(app)
    after = app.task(shared=False, name="after")(seen)
    assert after.rate_limit == "7/s"
    with use_instance("acme", user=OLGAS):
        assert before.delay().get()[0] == after.delay().get()[0] == "acme"
    assert _is_covered(before)
    assert _is_covered(after)
    assert not any(_is_covered(task) for name, task in app.tasks.items() if name[:7] == "celery.")


def _is_covered(task: Any) -> bool:
    return "_instance_lookup_covered" in vars(task.__class__)


def test_install_does_not_load_the_settings() -> None:
    """A project's package imports its app, while Django's settings are being loaded."""
    app = Celery("one")
    try:
        install()
        assert not app.configured
        task = app.task(shared=False, name="one")(seen)
        assert _is_covered(task)
    finally:
        app.close()


def test_install_covers_each_class_of_a_family_once() -> None:
    class Parent(Task):  # type: ignore[misc]
        name = "parent"

        def run(self) -> Any:
            return seen()

    class Child(Parent):
        name = "child"

    app = Celery("one", set_as_current=False, task_always_eager=True)
    install(app)
    app.register_task(Parent())
    child = app.register_task(Child())
    with use_instance("acme", user=OLGAS):
        assert child.delay().get()[0] == "acme"


@pytest.mark.parametrize("is_early", [True, False])
def test_install_covers_a_class_that_has_no_name(is_early: bool) -> None:
    """Celery names its task when it is registered."""

    class Nameless(Task):  # type: ignore[misc]
        def run(self) -> Any:
            return seen()

    app = Celery("one", set_as_current=False, task_always_eager=True)
    task = app.register_task(Nameless()) if is_early else None
    install(app)
    app.finalize()
    task = task or app.register_task(Nameless())
    with use_instance("acme", user=OLGAS):
        assert task.delay().get()[0] == "acme"


def test_eager_task_leaves_nothing_to_what_is_around_it(app: Any) -> None:
    left = []

    def rows() -> Iterator[None]:
        with use_instance("globex", user=OLGAS):
            yield

    def leaves() -> str:
        left.append(rows())
        next(left[-1])
        return current_instance().instance_id

    task = app.task(shared=False, name="leaves")(leaves)
    with use_instance("acme", user=OLGAS):
        assert task.delay().get() == "globex"
        assert current_instance().instance_id == "acme"
        assert chain(task.si(), app.tasks["plain"].si())().get()[0] == "acme"


def test_policy_is_an_option_of_the_base_too(app: Any) -> None:
    task = app.task(shared=False, base=InstanceTask, instance_policy=IsAdmin(), name="by_option")(
        seen
    )
    with use_instance("acme", user=OLGAS), pytest.raises(AccessDenied):
        task.delay().get()


def test_failure_shows_no_key(app: Any, service: DictConfigService) -> None:
    with use_instance("acme", user=OLGAS):
        service.instances["acme"] = owned_by(SAM)
        get_resolver().invalidate_cache("acme")
        result = app.tasks["which"].delay()
    assert result.failed()
    assert SECRET not in f"{result.result!r} {result.traceback} {result.result.__dict__}"
