"""Who is asking: the value a lookup is asked with, made from a Django user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import ObjectDoesNotExist, SynchronousOnlyOperation
from django.utils.functional import LazyObject, empty

from instance_lookup.conf import Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from django.http import HttpRequest

T = TypeVar("T")


def _none() -> str | None:
    return None


@dataclass(frozen=True)
class LookupUser:
    """Who is asking. All of it comes from the site, none of it from the request's headers."""

    is_service: ClassVar[bool] = False
    """Whether this is the site itself."""
    user_id: str | None
    """Compared exactly with ``metadata.owner``. Absent or blank: anonymous."""
    email: str | None = None
    roles: Collection[str] = field(default_factory=tuple)
    tenant_ids: Collection[str] = field(default_factory=tuple)
    """The tenants this user is a member of; compared with ``metadata.tenant_id``."""
    default_instance_id: str | None = field(default_factory=_none)
    """The instance this user works in when the request names none."""

    def __post_init__(self) -> None:
        if not isinstance(self.user_id, str | None):
            raise TypeError(f"user_id must be a str, not {_type(self.user_id)}: use str(user.pk)")
        checked_names("roles", self.roles)
        checked_names("tenant_ids", self.tenant_ids)

    @staticmethod
    def anonymous() -> LookupUser:
        """Return nobody."""
        return LookupUser(user_id=None)

    @staticmethod
    def service() -> LookupUser:
        """Return the site itself, for work that has no user: it may have every instance."""
        return ServiceUser(user_id=None)

    @property
    def identity(self) -> tuple[bool, str | None]:
        """What tells this user from others: the site itself has no ``user_id`` either."""
        return self.is_service, self.user_id

    @property
    def is_anonymous(self) -> bool:
        """Tell whether this is nobody."""
        return not (self.user_id and self.user_id.strip()) and not self.is_service


class ServiceUser(LookupUser):
    """The site itself; made by :meth:`LookupUser.service`."""

    is_service = True


class NotLoaded(SynchronousOnlyOperation):
    """Something about a user takes I/O that has not been done, and an event loop is running."""

    def __init__(self, user: LookupUser, name: str) -> None:
        super().__init__(f"{name!r} of user {user.user_id!r} takes a query: use the async twin.")
        self.user, self.name = user, name

    async def load(self) -> None:
        """Do the I/O, in the thread that Django keeps for it."""
        await sync_to_async(getattr)(self.user, self.name)


async def once_loaded(ask: Callable[[], T]) -> T:
    """Return ``ask()``, loading first what it turns out to need of its user."""
    while True:
        try:
            return ask()
        except NotLoaded as missing:
            await missing.load()


class deferred(cached_property[T]):  # noqa: N801  # reads like cached_property, which it is
    """A cached property that takes I/O, and so refuses to be read first in an event loop."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is not None and in_event_loop():
            raise NotLoaded(instance, cast("str", self.attrname))
        return super().__get__(instance, owner)


class DjangoUser(LookupUser):
    """A Django user. What may cost a query is read when something asks for it, and once."""

    _user: Any

    @classmethod
    def of(cls, user: Any, pk: object) -> DjangoUser:
        """Wrap a user, whose key is ``pk``. Does no I/O."""
        self = cls.__new__(cls)
        # Frozen, and its other fields are not to be read yet: so past __init__ and __setattr__.
        self.__dict__.update(user_id=str(pk), _user=user)
        default = vars(user).get("default_instance_id")
        if isinstance(default, str) and default:
            self.__dict__["default_instance_id"] = default
        return self

    # To show or compare one must cost no query either, in a debug page for instance.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}(user_id={self.user_id!r})"

    @cached_property
    def email(self) -> str | None:
        """The user's, where that is a string."""
        email = getattr(self._user, "email", None)
        return email if isinstance(email, str) else None

    @deferred
    def roles(self) -> frozenset[str]:  # a field of the base, read late here
        """Group names, and "admin" for superusers; which are an admin's is for settings to say."""
        user, settings = self._user, get_settings()
        admin_roles = set(settings.admin_roles)
        groups: set[str] = set()
        manager: Any = getattr(user, "groups", None)
        if hasattr(manager, "values_list"):
            groups.update(manager.values_list("name", flat=True))
        roles = groups - admin_roles
        if groups & set(settings.admin_groups):
            roles |= admin_roles
        # "is True": the user of a JWT answers any attribute, with whatever the token holds.
        if getattr(user, "is_superuser", False) is True:
            roles.add("admin")
        return frozenset(roles)

    @deferred
    def tenant_ids(self) -> frozenset[str]:
        """``user.tenant_ids``, where the user has them: a list, a set, a queryset of ids."""
        found = getattr(self._user, "tenant_ids", None)
        # A string is iterable too: by its letters.
        if not isinstance(found, Iterable) or isinstance(found, str | bytes | Mapping):
            return frozenset()
        return frozenset(map(str, found))

    @deferred
    def default_instance_id(self) -> str | None:
        """``default_instance_id`` of the user, else of its profile."""
        if found := _id_or_none(getattr(self._user, "default_instance_id", None)):
            return found
        try:
            profile = getattr(self._user, "profile", None)
        except ObjectDoesNotExist:
            return None
        return _id_or_none(getattr(profile, "default_instance_id", None))


def user_context(user: Any, request: HttpRequest | None = None) -> LookupUser:  # noqa: ARG001  # USER_CONTEXT
    """Return what a lookup has to know about a Django user: the default of ``USER_CONTEXT``.

    Nobody, inactive and unsaved users are anonymous.
    """
    known = getattr(user, "is_authenticated", False) and getattr(user, "is_active", True)
    if not known or (pk := user.pk) is None:
        return LookupUser.anonymous()
    return DjangoUser.of(user, pk)


_DEFAULT = (Settings.user_context, user_context)
"""What ``USER_CONTEXT`` is unless a project has its own."""


def peek_user(request: HttpRequest) -> Any:
    """Return the request's user if that takes no I/O, else ``empty``.

    DRF puts the user it authenticated on ``request.user``, so that comes first.
    """
    user = getattr(request, "user", None)
    if not isinstance(user, LazyObject):
        return user
    known = object.__getattribute__(user, "_wrapped")  # past its own, which is slow
    if known is not empty or not _is_of_session(user):
        return known
    return getattr(request, "_cached_user", getattr(request, "_acached_user", empty))


def current_user(request: HttpRequest) -> Any:
    """Return the request's user."""
    user = peek_user(request)
    if user is empty:
        lazy: Any = request.user
        bool(lazy.is_authenticated)  # evaluates it
        user = lazy._wrapped  # noqa: SLF001  # Django offers no other look
    return user


async def acurrent_user(request: HttpRequest) -> Any:
    """Return the request's user, without blocking the event loop."""
    user = peek_user(request)
    if user is not empty:
        return user
    if _is_of_session(request.user):
        return await request.auser()
    return await sync_to_async(current_user)(request)


def _is_of_session(user: object) -> bool:
    """Tell whether this lazy user is of Django's own middleware.

    Others put a lazy user of their own on the request, beside an ``auser`` that is not theirs.
    """
    setup = vars(user).get("_setupfunc")
    return getattr(setup, "__module__", None) == "django.contrib.auth.middleware"


def lookup_user(user: Any, request: HttpRequest | None = None) -> LookupUser:
    """Return what ``USER_CONTEXT`` says about a user."""
    settings = get_settings()
    if settings.user_context in _DEFAULT:
        return user_context(user, request)
    function = settings.load("user_context")
    if _is_async(function):
        function = async_to_sync(function)
    return _checked(function(user, request))


async def alookup_user(user: Any, request: HttpRequest | None = None) -> LookupUser:
    """Return what ``USER_CONTEXT`` says about a user, without blocking the event loop."""
    settings = get_settings()
    if settings.user_context in _DEFAULT:  # which does no I/O, so it is spared the hop
        return user_context(user, request)
    function = settings.load("user_context")
    if _is_async(function):
        return _checked(await function(user, request))
    return _checked(await sync_to_async(function)(user, request))


def checked_names(what: str, names: Collection[str]) -> Collection[str]:
    """Return ``names``. Raise ``TypeError`` for a string: "adm" is in "badmin"."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a collection of strings, such as ({names!r},), not a str")
    return names


@lru_cache(maxsize=16)
def _is_async(function: Any) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def in_event_loop() -> bool:
    """Tell whether this thread is running an event loop, which must not be blocked."""
    return asyncio._get_running_loop() is not None  # noqa: SLF001  # the other one raises


def _checked(user: object) -> LookupUser:
    if isinstance(user, LookupUser):
        return user
    raise TypeError(f"USER_CONTEXT must return a LookupUser, not {_type(user)}")


def _type(value: object) -> str:
    return type(value).__name__


def _id_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
