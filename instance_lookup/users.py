"""The user of a lookup: a frozen value, made from a Django user."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.core.signals import setting_changed
from django.dispatch import receiver

from instance_lookup.concurrency.deferred import deferred
from instance_lookup.conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.http import HttpRequest

T = TypeVar("T")

logger = logging.getLogger("instance_lookup")


@dataclass(frozen=True)
class LookupUser:
    """The user of a lookup. All of it comes from the site, nothing from the request's headers."""

    is_service: ClassVar[bool] = False
    """Whether this is the site itself."""
    is_outdated: ClassVar[bool] = False
    """Whether what it was made from has changed since."""
    user_id: str | None
    """Compared exactly with ``metadata.owner``. Absent or blank: anonymous."""
    email: str | None = None
    """For policies of the project's own: it decides nothing else."""
    roles: Collection[str] = ()
    """Names; who has one of ``ADMIN_ROLES`` is an admin."""
    tenant_ids: Collection[str] = ()
    """The tenants this user is a member of; compared with ``metadata.tenant_id``."""
    default_instance_id: str | None = None
    """The instance this user works in when the request names none."""

    def __post_init__(self) -> None:
        if not isinstance(self.user_id, str | None):
            raise TypeError(
                f"user_id must be a str, not {type(self.user_id).__name__}: use str(user.pk)"
            )
        for name in ("roles", "tenant_ids"):
            if getattr(self, name) is None:  # "none" is what a nullable column says
                object.__setattr__(self, name, ())
            check_names(name, getattr(self, name))

    @staticmethod
    def anonymous() -> LookupUser:
        """Return the user of requests that have none."""
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
        """Tell whether no user is known: an id is absent or blank, and this is not the site."""
        return not (self.user_id and self.user_id.strip()) and not self.is_service


class ServiceUser(LookupUser):
    """The site itself; made by :meth:`LookupUser.service`."""

    is_service = True


class DjangoUser(LookupUser):
    """A Django user. A field that may cost a query is read when first needed, and once."""

    _user: Any
    is_anonymous = False  # :func:`user_context` makes none of those who are

    @classmethod
    def of(cls, user: Any, user_id: str) -> DjangoUser:
        """Wrap a Django user. ``user_id`` is their key, not blank. Does no I/O."""
        self = cls.__new__(cls)
        # Not by __init__: it would read the other fields now, and the object is frozen.
        fields = self.__dict__
        fields["user_id"] = user_id
        fields["_user"] = user
        default = user.__dict__.get("default_instance_id")
        if default and isinstance(default, str):
            fields["default_instance_id"] = default
        return self

    @property
    def account(self) -> Any:
        """The Django user that this was made of."""
        return self._user

    # "repr" and "==" must cost no query either: debug pages call them.
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
        """Group names, and "admin" for superusers. The settings decide which roles mean admin."""
        user, options = self._user, get_settings()
        admin_roles = set(options.admin_roles)
        groups: set[str] = set()
        manager: Any = getattr(user, "groups", None)
        if hasattr(manager, "values_list"):
            groups.update(manager.values_list("name", flat=True))
        roles = groups - admin_roles
        if groups & set(options.admin_groups):
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
        return frozenset(str(tenant) for tenant in found if tenant is not None)

    @deferred
    def default_instance_id(self) -> str | None:
        """``default_instance_id`` of the user, else of its profile."""
        if found := _id_or_none(getattr(self._user, "default_instance_id", None)):
            return found
        try:
            profile = getattr(self._user, "profile", None)
        except ObjectDoesNotExist:
            return None
        self.__dict__["_profile"] = profile
        return _id_or_none(getattr(profile, "default_instance_id", None))

    @property
    def is_outdated(self) -> bool:  # type: ignore[override]  # of the class in the base
        """Tell whether the profile has another default by now: the user has moved. Does no I/O."""
        if (profile := self.__dict__.get("_profile")) is None:
            return False
        now = _id_or_none(getattr(profile, "default_instance_id", None))
        return bool(now != self.__dict__["default_instance_id"])


def user_context(user: Any, request: HttpRequest | None = None) -> LookupUser:  # noqa: ARG001  # USER_CONTEXT
    """Return a lookup's user for a Django user: the default of ``USER_CONTEXT``.

    Knows the site's user model, its proxies and subclasses, and the ``TokenUser`` of simplejwt.
    All others are anonymous: an API client of a model of its own has keys of its own, and the one
    with key 7 must not be taken for user 7. Inactive and unsaved users are anonymous as well.
    """
    if not getattr(user, "is_authenticated", False):
        return LookupUser.anonymous()
    kind = user.__class__
    key = KEYS[kind] if kind in KEYS else _find_key(kind)
    if key is None or not getattr(user, "is_active", True) or (pk := getattr(user, key)) is None:
        return LookupUser.anonymous()
    user_id = str(pk)
    return DjangoUser.of(user, user_id) if user_id.strip() else LookupUser.anonymous()


def _find_key(kind: type) -> str | None:
    """Return where users of this class have their key; ``None``, logged once: not known here."""
    key = None
    with suppress(LookupError):  # a site without django.contrib.auth
        model = apps.get_model(settings.AUTH_USER_MODEL, require_ready=False)
        if issubclass(kind, model):
            # The model's own key: a subclass may have another one beside it.
            key = model._meta.pk.attname  # noqa: SLF001  # Django documents it
    if any((each.__module__, each.__name__) == _TOKEN_USER for each in kind.__mro__):
        key = "pk"
    if key is None:
        logger.warning(
            "Users of class %s.%s count as anonymous: the default USER_CONTEXT knows %s and the "
            "TokenUser of simplejwt only. To let them in, name a function of your own in "
            "INSTANCE_LOOKUP['USER_CONTEXT']. Give them ids that no user has, such as "
            "LookupUser(f'client-{user.pk}').",
            kind.__module__,
            kind.__qualname__,
            settings.AUTH_USER_MODEL,
        )
    KEYS[kind] = key
    return key


KEYS: dict[type, str | None] = {}
"""What :func:`_find_key` found for a class."""


@receiver(setting_changed)
def _forget_keys(*, setting: str, **kwargs: object) -> None:
    if setting == "AUTH_USER_MODEL":
        KEYS.clear()


_TOKEN_USER = ("rest_framework_simplejwt.models", "TokenUser")


def check_names(what: str, names: Collection[str]) -> Collection[str]:
    """Return ``names``. Raise ``TypeError`` for a string: "adm" is in "badmin"."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a collection of strings, such as ({names!r},), not a str")
    return names


def _id_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
