from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ObjectDoesNotExist, SynchronousOnlyOperation
from django.db.models import CASCADE, AutoField, OneToOneField
from django.test import override_settings
from django.test.utils import isolate_apps

from instance_lookup import InstanceConfig, InstanceMetadata, users
from instance_lookup.access import IsTenantMember
from instance_lookup.concurrency.deferred import NotLoaded, call_when_loaded, in_event_loop
from instance_lookup.users import DjangoUser, LookupUser, user_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoAssertNumQueries


class Person(User):
    """A user of the site with attributes as given, and without those of PermissionsMixin."""

    class Meta:
        proxy = True
        app_label = "auth"

    groups: Any = None

    def __init__(self, **fields: Any) -> None:
        super().__init__(pk=fields.pop("pk", 7))
        self.__dict__.update(fields)


class Forgetful(Person):
    class Meta:
        proxy = True
        app_label = "auth"

    @property
    def profile(self) -> object:
        raise ObjectDoesNotExist


def saved(username: str = "ada", groups: tuple[str, ...] = (), **fields: Any) -> User:
    user = User.objects.create_user(username, f"{username}@example.com", **fields)
    user.groups.set(Group.objects.get_or_create(name=name)[0] for name in groups)
    return User.objects.get(pk=user.pk)


def test_lookup_user_wants_its_id_as_a_string() -> None:
    """`user.pk` as a number would match no owner; the error says what to write."""
    with pytest.raises(TypeError, match=r"user_id must be a str, not int: use str\(user.pk\)"):
        LookupUser(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["roles", "tenant_ids"])
def test_lookup_user_refuses_a_string_of_names(field: str) -> None:
    """A string would be searched for substrings: "non-admin" is no admin."""
    with pytest.raises(TypeError, match=rf"{field} must be .*\('non-admin',\), not a str"):
        LookupUser("7", **{field: "non-admin"})


@pytest.mark.parametrize(
    ("user", "anonymous", "service"),
    [
        (LookupUser.anonymous(), True, False),
        (LookupUser(""), True, False),
        (LookupUser(" \t"), True, False),
        (LookupUser("7"), False, False),
        (LookupUser.service(), False, True),
    ],
)
def test_who_is_anonymous(user: LookupUser, anonymous: bool, service: bool) -> None:
    """A user without an id is anonymous; the site itself is neither anonymous nor a user."""
    assert (user.is_anonymous, user.is_service) == (anonymous, service)


def test_service_is_not_equal_to_anonymous() -> None:
    """The site itself and the anonymous user have no id, but are not equal."""
    assert LookupUser.service() != LookupUser.anonymous()


def test_lookup_user_has_empty_defaults() -> None:
    """A ``LookupUser`` needs only an id; all else is empty."""
    user = LookupUser("7")
    assert (user.email, user.default_instance_id) == (None, None)
    assert (user.roles, user.tenant_ids) == ((), ())


@pytest.mark.parametrize(
    "user",
    [
        None,
        object(),
        AnonymousUser(),
        Person(is_active=False),
        Person(pk=None),
        User(username="unsaved"),
        User(pk=7, is_active=False),
    ],
)
def test_user_context_of_nobody(user: object) -> None:
    """No user, an inactive user and an unsaved user are anonymous, with any id."""
    assert user_context(user) == LookupUser.anonymous()


@pytest.mark.django_db
def test_user_context_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Building the context costs no query, and an owner needs no more."""
    user = saved()
    with django_assert_num_queries(0):
        who = user_context(user)
        assert (who.user_id, who.email) == (str(user.pk), "ada@example.com")
        assert not who.is_anonymous


@pytest.mark.django_db
def test_roles_cost_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Roles are read when they are needed, with one query."""
    who = user_context(saved(groups=("editor", "viewer")))
    with django_assert_num_queries(1):
        assert who.roles == {"editor", "viewer"}
        assert who.roles == {"editor", "viewer"}


@pytest.mark.django_db
def test_showing_and_comparing_cost_no_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Showing and comparing users costs no query."""
    user = saved()
    who = user_context(user)
    with django_assert_num_queries(0):
        assert repr(who) == f"DjangoUser(user_id='{user.pk}')"
        assert who == who  # noqa: PLR0124
        assert who != user_context(user)
        assert len({who, who}) == 1


@pytest.mark.parametrize(
    ("settings", "groups", "superuser", "roles"),
    [
        ({}, ("admin",), False, set()),
        ({}, ("admin", "editor"), False, {"editor"}),
        ({}, (), True, {"admin"}),
        ({}, ("editor",), True, {"editor", "admin"}),
        ({"ADMIN_GROUPS": ["ops"]}, ("ops",), False, {"ops", "admin"}),
        ({"ADMIN_GROUPS": ["ops"]}, ("admin",), False, set()),
        ({"ADMIN_GROUPS": ["admin"]}, ("admin",), False, {"admin"}),
        ({"ADMIN_GROUPS": ["Ops"]}, ("ops",), False, {"ops"}),
        ({"ADMIN_ROLES": ["root"]}, ("root", "admin"), False, {"admin"}),
        ({"ADMIN_ROLES": ["root"]}, (), True, {"admin"}),
        ({"ADMIN_ROLES": ["root"], "ADMIN_GROUPS": ["ops"]}, ("ops",), False, {"ops", "root"}),
    ],
)
@pytest.mark.django_db
def test_groups_and_admins(
    settings: dict[str, Any], groups: tuple[str, ...], superuser: bool, roles: set[str]
) -> None:
    """A group called "admin" is a tenant's own matter, unless `ADMIN_GROUPS` lists it."""
    with override_settings(INSTANCE_LOOKUP=settings):
        assert user_context(saved(groups=groups, is_superuser=superuser)).roles == roles


@pytest.mark.parametrize(
    ("user", "roles"),
    [
        (Person(), set()),
        (Person(is_superuser=True), {"admin"}),
        (Person(is_superuser="yes"), set()),
        (Person(is_superuser=1), set()),
        (Person(groups=["admin"]), set()),
        (Person(groups=None), set()),
    ],
)
def test_roles_of_other_user_models(user: Person, roles: set[str]) -> None:
    """Users without groups and `is_superuser` have no roles; only True makes a superuser."""
    assert user_context(user).roles == roles


@pytest.mark.parametrize(
    ("given", "tenants"),
    [
        (["t1", "t2"], {"t1", "t2"}),
        (("t1",), {"t1"}),
        ({5}, {"5"}),
        ((f"t{n}" for n in (1, 2)), {"t1", "t2"}),
        ("t1", set()),
        (b"t1", set()),
        ({"t1": 1}, set()),
        (None, set()),
        (5, set()),
    ],
)
def test_tenant_ids(given: object, tenants: set[str]) -> None:
    """Tenant ids may be any series of ids; a string counts as none: its letters would be ids."""
    assert user_context(Person(tenant_ids=given)).tenant_ids == tenants


@pytest.mark.django_db
def test_tenant_ids_of_a_queryset() -> None:
    """Tenant ids may be a queryset of ids."""
    saved("bob")
    who = user_context(Person(tenant_ids=User.objects.values_list("username", flat=True)))
    assert who.tenant_ids == {"bob"}


@pytest.mark.parametrize(
    ("user", "default"),
    [
        (Person(default_instance_id="acme"), "acme"),
        (Person(default_instance_id="acme", profile=Person(default_instance_id="x")), "acme"),
        (Person(default_instance_id="", profile=Person(default_instance_id="x")), "x"),
        (Person(default_instance_id=None, profile=Person(default_instance_id="x")), "x"),
        (Person(profile=Person(default_instance_id=5)), None),
        (Person(default_instance_id=["acme"]), None),
        (Person(profile=None), None),
        (Person(), None),
        (Forgetful(), None),
    ],
)
def test_default_instance_id(user: Person, default: str | None) -> None:
    """The default instance is the user's own, else the profile's; it must be a non-empty string."""
    assert user_context(user).default_instance_id == default


def test_own_user_context_may_build_on_the_default() -> None:
    """`dataclasses.replace` adds to what the default says: a project's tenants, for instance."""
    who = replace(user_context(Person(default_instance_id="acme")), tenant_ids=("t1",))
    assert (who.user_id, who.default_instance_id, who.tenant_ids) == ("7", "acme", ("t1",))


def test_email_that_is_no_string() -> None:
    """An e-mail that is not a string counts as none."""
    assert user_context(Person(email=["a@example.com"])).email is None


async def test_own_default_needs_no_load() -> None:
    """A default that is a field of the user needs no query, also in an event loop."""
    assert user_context(Person(default_instance_id="acme")).default_instance_id == "acme"


@pytest.mark.parametrize("name", ["roles", "tenant_ids", "default_instance_id"])
async def test_deferred_in_event_loop(name: str) -> None:
    """What may cost a query raises in an event loop, and names itself and its user."""
    with pytest.raises(NotLoaded, match=f"'{name}' of .*7.* takes a query") as caught:
        getattr(user_context(Person()), name)
    assert isinstance(caught.value, SynchronousOnlyOperation)


@pytest.mark.django_db(transaction=True)
async def test_once_loaded_loads_what_is_asked_for() -> None:
    """Roles and profile are loaded in a thread, and can be read directly afterwards."""
    user = await User.objects.acreate(username="ada")
    await user.groups.aadd(await Group.objects.acreate(name="editor"))
    who = user_context(user)
    asked = await call_when_loaded(lambda: (who.roles, who.tenant_ids, who.default_instance_id))
    assert asked == ({"editor"}, frozenset(), None)
    assert who.roles == {"editor"}


async def test_once_loaded_lets_other_errors_through() -> None:
    """An error of the called function itself is raised."""
    with pytest.raises(ZeroDivisionError):
        await call_when_loaded(lambda: 1 // 0)


async def test_in_event_loop_inside() -> None:
    """``in_event_loop`` is true in a coroutine."""
    assert in_event_loop()


def test_in_event_loop_outside() -> None:
    """``in_event_loop`` is false in plain code."""
    assert not in_event_loop()


def test_deferred_belongs_to_the_class() -> None:
    """The attributes can be looked up on the class, as documentation tools do."""
    assert "Group names" in str(DjangoUser.roles.__doc__)


class ApiClient:
    """A principal of another kind, with keys of its own."""

    pk = id = 1
    is_authenticated = True
    is_active = True


class Slotted:
    __slots__ = ()
    pk = 1
    is_authenticated = True


class Named(NamedTuple):
    pk: int = 1
    is_authenticated: bool = True


with isolate_apps("django.contrib.auth"):  # it has no table: to delete a user would look into that

    class Subclassed(User):
        """A user with a key of its own beside the one of its base."""

        number = AutoField(primary_key=True)
        user = OneToOneField(User, on_delete=CASCADE, parent_link=True)

        class Meta:
            app_label = "auth"
            managed = False


@pytest.fixture
def _asked_for_the_first_time() -> Iterator[None]:
    """Forget which classes were logged, so that each test sees the line for its class."""
    known = dict(users.KEYS)
    users.KEYS.clear()
    yield
    users.KEYS.update(known)


@pytest.mark.usefixtures("_asked_for_the_first_time")
@pytest.mark.parametrize("stranger", [ApiClient(), Slotted(), Named()])
def test_user_of_another_kind_is_anonymous(
    stranger: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A user of another kind is anonymous: its key may be that of a site's user."""
    for _ in range(2):
        assert user_context(stranger) == LookupUser.anonymous()

    (record,) = caplog.records  # once for a class
    assert type(stranger).__qualname__ in record.getMessage()
    assert "USER_CONTEXT" in record.getMessage()
    assert "auth.User" in record.getMessage()


def test_anonymous_kinds_are_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Anonymous users are not logged: each request without a log-in has one."""
    for user in (None, AnonymousUser(), SimpleNamespace(is_authenticated=False, pk=1)):
        assert user_context(user) == LookupUser.anonymous()

    assert not caplog.records


def test_subclass_of_the_user_model_is_known_by_its_key_as_a_user() -> None:
    """A subclass of the user model is known by the user's key, not by its own."""
    assert user_context(Subclassed(id=5, number=7)).user_id == "5"


def test_proxy_of_the_user_model_is_a_user() -> None:
    """A proxy of the user model is a user: it is the same table."""
    assert user_context(Person()).user_id == "7"


@override_settings(AUTH_USER_MODEL="contenttypes.ContentType")
def test_user_model_of_the_settings_counts() -> None:
    """Only users of the site's own user model are known, not Django's default one."""
    assert user_context(User(pk=1)) == LookupUser.anonymous()


@override_settings(AUTH_USER_MODEL="missing.User")
def test_site_without_a_user_model_knows_no_user() -> None:
    """On a site without a user model each principal is anonymous without a USER_CONTEXT."""
    assert user_context(User(pk=1)) == LookupUser.anonymous()


@pytest.mark.parametrize("field", ["roles", "tenant_ids"])
def test_none_is_no_names(field: str) -> None:
    """None counts as no names: a nullable column may hold it."""
    assert getattr(LookupUser("7", **{field: None}), field) == ()  # type: ignore[arg-type]


def test_tenant_ids_of_none_match_nothing() -> None:
    """A tenant id that is None is dropped: it must not match a tenant called "None"."""
    who = user_context(Person(tenant_ids=[None, 5]))
    config = InstanceConfig(instance_id="acme", metadata=InstanceMetadata(tenant_id="None"))

    assert who.tenant_ids == {"5"}
    assert not IsTenantMember().allows(who, config)
    assert not IsTenantMember().allows(LookupUser("7", tenant_ids=None), config)  # type: ignore[arg-type]
