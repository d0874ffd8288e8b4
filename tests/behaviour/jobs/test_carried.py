"""What a job carries: its signature, the user as of the time it runs, and which instance it is."""

from __future__ import annotations

import json
from contextvars import Context
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.signing import Signer
from django.test import RequestFactory

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InvalidContext,
    LookupUser,
    MissBudgetSpent,
    current_instance,
    events,
    use_instance,
)
from instance_lookup.access import HasFeature, IsAdmin, IsOwner
from instance_lookup.jobs import carried as carried_module
from instance_lookup.jobs.carried import Carried, read, sign
from instance_lookup.jobs.job import Job, running_job
from instance_lookup.jobs.publishing import acarried_now, carried_now
from instance_lookup.jobs.running import ablock_for, block_for
from instance_lookup.request import current
from instance_lookup.request.attributes import attach, lookup_for
from instance_lookup.users import user_context
from tests.support.doors import OLGA, SAM, owned_by
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.backends.memory import DictConfigService

OLGAS = Carried("acme", "account", "olga", "r1")


@pytest.fixture(autouse=True)
def _site(service: DictConfigService) -> Iterator[None]:
    yield
    current.leave(None)
    current._end_serving()


@pytest.fixture(params=[carried_now, async_to_sync(acarried_now)], ids=["sync", "async"])
def now(request: pytest.FixtureRequest) -> Callable[..., Carried | None]:
    twin: Callable[..., Carried | None] = request.param
    return twin


def _begin_request(user: Any = OLGA, instance_id: str = "acme") -> Any:
    request: Any = RequestFactory().get(
        "/", headers={"X-Instance-ID": instance_id, "X-Request-ID": "r1"}
    )
    request.user = user
    attach(request)
    current.note(request)
    return request


def _run(carried: Carried, **options: Any) -> str:
    with block_for(carried, **options) as config:
        assert current_instance() is config
        return config.instance_id


async def _arun(carried: Carried, **options: Any) -> str:
    async with await ablock_for(carried, **options) as config:
        return config.instance_id


RUNNERS = pytest.mark.parametrize("run", [_run, async_to_sync(_arun)], ids=["sync", "async"])


def test_signed_text_is_read_for_its_job_alone() -> None:
    """Whoever can write to the broker can neither move nor change what a message carries."""
    text = sign(OLGAS, "export", "id-1")
    assert read(text, "export", "id-1") == OLGAS
    for job in [("export", "id-2"), ("delete", "id-1"), ("export:id-1",), ("export", "id-1", "")]:
        with pytest.raises(AccessDenied, match="not signed by this site for this job"):
            read(text, *job)
    changed: object
    for changed in [
        text[:-1] + ("a" if text[-1] != "a" else "b"),
        "x" + text,
        "",
        None,
        7,
        {},
        "\ud800:a",
    ]:
        with pytest.raises(AccessDenied, match="The instance of job export id-1 is not signed"):
            read(changed, "export", "id-1")


def test_signed_text_of_another_shape_is_refused() -> None:
    signer = Signer(salt="instance_lookup.jobs\0export\0id-1")
    for value in [{"instance_id": "acme"}, {"instance_id": 7, "kind": "site"}, ["acme"], None]:
        with pytest.raises(AccessDenied):
            read(signer.sign_object(value), "export", "id-1")
    later = {"instance_id": "acme", "kind": "site", "of a later release": 1}
    assert read(signer.sign_object(later), "export", "id-1") == Carried("acme", "site")


def test_rotated_secret_key_is_accepted_as_a_fallback(settings: Any) -> None:
    text = sign(OLGAS, "export", "id-1")
    settings.SECRET_KEY, old = "another one, which is long enough as well", settings.SECRET_KEY
    with pytest.raises(AccessDenied):
        read(text, "export", "id-1")
    settings.SECRET_KEY_FALLBACKS = [old]
    assert read(text, "export", "id-1") == OLGAS


def test_text_holds_ids_alone() -> None:
    with use_instance("acme", user=OLGA, request_id="r1"):
        carried = carried_now()
    assert carried == OLGAS
    shown = json.dumps([sign(carried, "export", "id-1"), repr(carried)])
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("user", "kind", "user_id"),
    [
        (OLGA, "account", "olga"),
        (user_context(OLGA), "account", "olga"),
        (LookupUser("olga", roles=["admin"]), "id", "olga"),
        (LookupUser.service(), "site", None),
    ],
    ids=["account", "account as a lookup's user", "lookup's user", "site"],
)
def test_block_says_for_whom(now: Any, user: Any, kind: str, user_id: str | None) -> None:
    with use_instance("acme", user=user):
        found = now()
    assert (found.instance_id, found.kind, found.user_id) == ("acme", kind, user_id)
    assert now() is None


def test_request_says_for_whom(now: Any) -> None:
    _begin_request()
    assert now() == OLGAS


def test_user_that_is_not_of_the_sites_model_is_an_id(settings: Any, now: Any) -> None:
    class Client:
        is_authenticated = True

    settings.INSTANCE_LOOKUP |= {"USER_CONTEXT": lambda user, request=None: LookupUser("olga")}
    _begin_request(Client())
    assert now() == Carried("acme", "id", "olga", "r1")


def test_site_without_accounts_carries_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model() -> None:
        raise ImproperlyConfigured

    monkeypatch.setattr(carried_module, "get_user_model", no_model)
    assert Carried.of("acme", OLGA, LookupUser("olga")) == Carried("acme", "id", "olga")
    monkeypatch.undo()
    assert Carried.of("acme", User(), LookupUser(None)).kind == "id", "it is not saved"


@pytest.mark.parametrize(
    ("user", "instance_id", "error"),
    [(SAM, "acme", AccessDenied), (OLGA, "a,b", InvalidContext)],
    ids=["refused", "names none"],
)
def test_request_without_an_instance(now: Any, user: Any, instance_id: str, error: Any) -> None:
    _begin_request(user, instance_id)
    with pytest.raises(error):
        now()
    assert now(insist=False) is None


def test_anonymous_caller_is_not_counted_as_refused(now: Any) -> None:
    """They sign up, say, and a mail is sent: neither has asked for an instance."""
    denials: list[object] = []
    watcher = denials.append
    events.watch(watcher)
    try:
        request = _begin_request(AnonymousUser())
        assert now(insist=False) is None
        assert denials == []
        assert not lookup_for(request).state.is_touched
        with pytest.raises(AccessDenied):
            now()
        assert denials
    finally:
        events.unwatch(watcher)


def test_anonymous_caller_who_may_have_an_instance_carries_it(
    now: Any, service: DictConfigService, settings: Any
) -> None:
    settings.INSTANCE_LOOKUP |= {"ALLOW_ANONYMOUS": True, "ACCESS_POLICY": HasFeature("open")}
    service.instances["open"] = {"features": {"open": True}}
    _begin_request(AnonymousUser(), "open")
    carried = now(insist=False)
    assert carried == Carried("open", "id", None, "r1")
    assert _run(carried) == "open"


def test_outage_does_not_lose_whose_job_it_is(
    now: Any, service: DictConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance that the request names is carried; may they have it is decided later."""

    def fail(*args: Any) -> None:
        raise ConfigServiceUnavailable("down")

    monkeypatch.setattr(service, "get_instance", fail)
    _begin_request()
    with pytest.raises(ConfigServiceUnavailable):
        now()
    assert now(insist=False) == OLGAS


def test_spent_budget_carries_nothing(now: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise MissBudgetSpent("spent")

    request = _begin_request()
    monkeypatch.setattr("instance_lookup.resolver.InstanceResolver.resolve", fail)
    monkeypatch.setattr("instance_lookup.resolver.InstanceResolver.aresolve", fail)
    assert now(insist=False) is None
    del request


def test_outage_before_the_user_is_known_carries_nothing(settings: Any) -> None:
    def context(user: Any, request: Any = None) -> LookupUser:
        raise ConfigServiceUnavailable("the users are not there either")

    settings.INSTANCE_LOOKUP |= {"USER_CONTEXT": context}
    _begin_request()
    assert carried_now(insist=False) is None


async def test_event_loop_is_not_blocked() -> None:
    _begin_request()
    with pytest.raises(SynchronousOnlyOperation):
        carried_now()
    assert carried_now(insist=False) is None
    assert await acarried_now() == OLGAS
    assert carried_now() == OLGAS, "it is looked up now"


async def test_request_that_is_looked_up_is_not_asked_who_they_are(settings: Any) -> None:
    """An async USER_CONTEXT cannot be asked where an event loop runs."""

    async def user_context(user: Any, request: Any = None) -> LookupUser:
        return LookupUser("olga")

    settings.INSTANCE_LOOKUP |= {"USER_CONTEXT": user_context}
    request = _begin_request()
    assert carried_now(insist=False) is None
    await request.ainstance_config()
    assert carried_now(insist=False) == OLGAS
    assert await acarried_now(insist=False) == OLGAS


def test_job_goes_before_what_is_around_it_and_after_what_is_inside(
    now: Any, service: DictConfigService
) -> None:
    service.instances["globex"] = owned_by(OLGA, instance_id="globex")
    with use_instance("globex", user=OLGA):
        job = Job(OLGAS)
        job.begin()
        assert now() == OLGAS
        assert running_job() is job
        with use_instance("globex", user=OLGA):
            assert now().instance_id == "globex"
            assert running_job() is None
            inner = Job(None)
            inner.begin()
            assert now() is None
            inner.end()
            assert now().instance_id == "globex"
        assert now() == OLGAS
        job.end()
        assert now().instance_id == "globex"


def test_request_inside_a_job_is_the_innermost() -> None:
    job = Job(Carried("globex", "site"))
    job.begin()
    _begin_request()
    assert carried_now() == OLGAS
    job.end()


@RUNNERS
@pytest.mark.django_db
def test_user_is_loaded_when_the_job_runs(run: Any, users: Any, service: DictConfigService) -> None:
    """What has changed since it was published counts: owner, role, account."""
    olga, sam = users["olga"], users["sam"]
    carried = Carried("acme", "account", str(olga.pk))
    assert run(carried) == "acme"
    with pytest.raises(AccessDenied):
        run(carried, policy=IsAdmin())
    User.objects.filter(pk=olga.pk).update(is_superuser=True)
    assert run(carried, policy=IsAdmin()) == "acme"
    User.objects.filter(pk=olga.pk).update(is_active=False)
    with pytest.raises(AccessDenied, match=r"who is inactive now\.") as denied:
        run(carried)
    assert denied.value.instance_id == "acme"
    with pytest.raises(AccessDenied, match="may not"):
        run(Carried("acme", "account", str(sam.pk)))
    sam_id = str(sam.pk)
    User.objects.filter(pk=sam_id)._raw_delete("default")  # past models that other tests make
    with pytest.raises(AccessDenied, match=r"who is gone now\."):
        run(Carried("acme", "account", sam_id))


@RUNNERS
def test_user_who_was_the_site_itself(
    run: Any, users: Any, settings: Any, service: DictConfigService
) -> None:
    """Whom ``USER_CONTEXT`` takes for the site is asked again, as all others."""

    def user_context(user: Any, request: Any = None) -> LookupUser:
        return LookupUser.service() if user.is_superuser else LookupUser(str(user.pk))

    settings.INSTANCE_LOOKUP |= {"USER_CONTEXT": user_context}
    sam = users["sam"]
    sam.is_superuser = True
    sam.save()
    with use_instance("acme", user=sam):
        carried = carried_now()
    assert carried is not None
    assert run(carried) == "acme"
    User.objects.filter(pk=sam.pk).update(is_superuser=False)
    with pytest.raises(AccessDenied):
        run(carried)


@RUNNERS
def test_user_without_a_row_has_no_roles(run: Any) -> None:
    assert run(Carried("acme", "id", "olga"), policy=IsOwner()) == "acme"
    with pytest.raises(AccessDenied):
        run(Carried("acme", "id", "ada"))
    with pytest.raises(AccessDenied):
        run(Carried("acme", "id", None))
    assert run(Carried("acme", "site")) == "acme"


def test_job_that_ends_elsewhere_changes_nothing_there(service: DictConfigService) -> None:
    """A coroutine that is given up is closed by whatever code comes along."""
    service.instances["globex"] = owned_by(OLGA, instance_id="globex")
    job = Job(OLGAS)
    with use_instance("globex", user=OLGA):
        Context().run(job.begin)
        job.end()
        assert current_instance().instance_id == "globex"


async def test_job_is_seen_in_threads_of_the_loop() -> None:
    job = Job(OLGAS)
    job.begin()
    assert await sync_to_async(carried_now)() == OLGAS
    job.end()
