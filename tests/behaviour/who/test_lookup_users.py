"""An answer is kept for the user that it was made for, and for no other user."""

from __future__ import annotations

import asyncio
import copy
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject

from instance_lookup import AccessDenied, LookupUser, get_resolver
from instance_lookup import users as users_module
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.request.attributes import lookup_for
from tests.support.doors import CALLERS, OLGA, SAM, Caller, Somebody, lookups, owned_by, serve

if TYPE_CHECKING:
    from instance_lookup.backends.base import Document, NotModified, Query


def test_attribute_after_another_authentication_is_looked_up_anew(request_: Any) -> None:
    """After DRF authenticated another user there is a new lookup for that user."""
    assert request_.instance_config.instance_id == "acme"

    request_.user = SAM

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


def test_error_of_an_earlier_user_is_not_the_next_ones(request_: Any) -> None:
    """A refusal of the anonymous user does not hold for the user that DRF authenticates later."""
    request_.user = AnonymousUser()
    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)

    request_.user = OLGA

    assert request_.instance_config.instance_id == "acme"


def test_equal_users_are_looked_up_apart(request_: Any) -> None:
    """Equal users share no lookup: a token may narrow what its user may do."""
    assert request_.instance_config.instance_id == "acme"

    request_.user = Somebody("olga", is_active=False)

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


def test_anonymous_users_share_one_lookup(request_: Any, settings: Any) -> None:
    """Django's anonymous user and DRF's share one lookup."""
    serve(settings, ALLOW_ANONYMOUS=True).instances["acme"] = owned_by(OLGA)
    for _ in range(2):
        request_.user = AnonymousUser()
        with pytest.raises(AccessDenied):
            str(request_.instance_config.instance_id)

    assert lookups() == 1


def test_users_of_a_kind_of_the_projects_own_are_looked_up_apart(
    request_: Any, settings: Any
) -> None:
    """``USER_CONTEXT`` may know a user that Django calls anonymous: a device, say."""
    context = {"USER_CONTEXT": lambda user, request: LookupUser(user.pk)}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **context}
    request_.user = SimpleNamespace(pk="olga", is_authenticated=False)
    assert request_.instance_config.instance_id == "acme"

    request_.user = SimpleNamespace(pk="sam", is_authenticated=False)

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


@pytest.mark.parametrize("path", ["logs_in/sam", "alogs_in/sam"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_login_in_the_view_means_a_new_lookup(
    users: dict[str, User], is_async: bool, path: str
) -> None:
    """After a login in the view the new user has a lookup of their own."""
    response = Caller(is_async=is_async).login(users["olga"])(path, "acme")

    assert response.content == b"acme denied"


def test_lazy_user_of_another_middleware_is_believed(request_: Any) -> None:
    """A lazy user of another middleware is used, not the session's user."""
    request_._cached_user = OLGA
    request_.user = SimpleLazyObject(lambda: SAM)

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


async def test_lazy_user_of_another_middleware_is_believed_async(request_: Any) -> None:
    """The async twin uses the lazy user of another middleware, not the session's ``auser``."""

    async def auser() -> Any:
        return OLGA

    request_._acached_user = OLGA
    request_.auser = auser
    request_.user = SimpleLazyObject(lambda: SAM)

    with pytest.raises(AccessDenied):
        await request_.ainstance_config()


async def test_lazy_user_within_a_lazy_user_is_unwrapped(request_: Any) -> None:
    """A lazy user inside of a lazy user is unwrapped."""
    request_.user = SimpleLazyObject(lambda: SimpleLazyObject(lambda: OLGA))

    await request_.ainstance_config()

    assert request_.instance_config.instance_id == "acme"


class Slotted:
    __slots__ = ()
    pk = "olga"
    is_authenticated = True


class Named(NamedTuple):
    pk: str = "olga"
    is_authenticated: bool = True


ODD = {
    "none": None,
    "lazy none": SimpleLazyObject(lambda: None),
    "slotted": Slotted(),
    "lazy slotted": SimpleLazyObject(Slotted),
    "named tuple": Named(),
    "string": "olga",
    "client": SimpleNamespace(pk="olga", is_authenticated=True, is_active=True),
}


@pytest.mark.parametrize("user", ODD.values(), ids=ODD)
@pytest.mark.parametrize("is_async", CALLERS)
def test_odd_user_is_refused(request_: Any, user: Any, is_async: bool) -> None:
    """Any unusual user object of the site's own authentication gives a 403, and no 500."""
    request_.user = user
    lookup = lookup_for(request_)
    for _ in range(2):
        with pytest.raises(AccessDenied):
            async_to_sync(lookup.aget)() if is_async else lookup.get()


def test_lazy_user_that_holds_another_one_by_now_is_asked_about(request_: Any) -> None:
    """A lazy user that stands for another user now causes a new lookup."""
    lazy: Any = SimpleLazyObject(lambda: OLGA)
    request_.user = lazy
    str(lazy.pk)
    assert request_.instance_config.instance_id == "acme"

    lazy._wrapped = SAM

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


class Member(Somebody):
    """A user whose key is called otherwise."""

    class Meta:
        proxy = True
        app_label = "auth"


def test_key_of_another_name_that_changes_in_place_is_noticed(
    request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a user's key is noticed, also when the key has another name than ``pk``."""
    monkeypatch.setitem(users_module.KEYS, Member, "code")
    request_.user = Member("x", code="olga")
    assert request_.instance_config.instance_id == "acme"

    request_.user.code = None

    with pytest.raises(AccessDenied):
        str(request_.instance_config.instance_id)


def test_lazy_user_within_a_loaded_one_is_unwrapped(request_: Any) -> None:
    """A lazy user inside of a loaded one is unwrapped."""
    outer: Any = SimpleLazyObject(lambda: SimpleLazyObject(lambda: OLGA))
    outer._setup()
    request_.user = outer

    assert request_.instance_config.instance_id == "acme"


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("path", ["thrice", "athrice"])
def test_user_is_loaded_once(
    users: dict[str, User], path: str, is_async: bool, django_assert_num_queries: Any
) -> None:
    """There is one query for the session and one for the user; an owner's roles take none."""
    caller = Caller(is_async=is_async).login(users["olga"])

    with django_assert_num_queries(2):
        caller(path, "acme")


class Held(DictConfigService):
    """A service that answers each user when told to."""

    def __init__(self) -> None:
        super().__init__({"acme": {"features": {"open": True}}})
        self.asked = {"olga": Event(), "sam": Event()}
        self.released = {"olga": Event(), "sam": Event()}

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        assert query.user_id is not None
        self.asked[query.user_id].set()
        assert self.released[query.user_id].wait(5)
        return super().get_instance(instance_id, query)


async def test_slow_answer_for_an_earlier_user_is_not_the_next_ones(
    request_: Any, settings: Any
) -> None:
    """Two lookups of one request at once keep their answers apart."""
    service = Held()
    settings.INSTANCE_LOOKUP = {
        "CONFIG_SERVICE_BACKEND": service,
        "ACCESS_POLICY": "instance_lookup.access.IsOwner",
        "ALLOW_ANONYMOUS": True,
    }
    service.instances["acme"] = owned_by(OLGA)
    first = asyncio.ensure_future(request_.ainstance_config())
    assert await asyncio.to_thread(service.asked["olga"].wait, 5)
    get_resolver().invalidate_cache("acme")  # or the second would wait for the first one's fetch
    request_.user = SAM
    second = asyncio.ensure_future(request_.ainstance_config())
    assert await asyncio.to_thread(service.asked["sam"].wait, 5)

    service.released["olga"].set()
    assert (await first).instance_id == "acme"

    with pytest.raises(SynchronousOnlyOperation):  # nothing is known of Sam yet
        str(request_.instance_config.instance_id)
    service.released["sam"].set()
    with pytest.raises(AccessDenied):
        await second


def test_copied_request_has_a_lookup_of_its_own(request_: Any) -> None:
    """A copied request whose user is changed has its own lookup."""
    assert request_.instance_config.instance_id == "acme"
    copied = copy.copy(request_)
    copied.user = SAM

    with pytest.raises(AccessDenied):
        lookup_for(copied).get()
