"""Which user may have which instance. Only ``authorize`` lets a config out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Never, Protocol

from instance_lookup.exceptions import AccessDenied
from instance_lookup.types import Grant, InstanceConfig
from instance_lookup.users import LookupUser, check_names

if TYPE_CHECKING:
    from collections.abc import Collection

    from instance_lookup.conf import Settings


class Allows(Protocol):
    """What ``ACCESS_POLICY`` is; :class:`Policy` is the base that composes."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Tell whether ``user`` may have ``config``."""


def _is_policy(other: object) -> bool:
    """Tell a policy from its class: the parentheses are easily forgotten."""
    return not isinstance(other, type) and hasattr(other, "allows")


class Policy(ABC):
    """A rule about who may have an instance. Rules compose with ``|``, ``&`` and ``~``."""

    @abstractmethod
    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Tell whether ``user`` may have ``config``."""

    def bind(self, settings: Settings) -> Policy:
        """Return this policy with what it takes from the settings filled in."""
        return self

    def __or__(self, other: Allows) -> Policy:
        return AnyOf((self, other)) if _is_policy(other) else NotImplemented

    def __and__(self, other: Allows) -> Policy:
        return AllOf((self, other)) if _is_policy(other) else NotImplemented

    def __bool__(self) -> Never:
        # "IsOwner() and HasFeature(…)" is HasFeature(…) alone: every user would be let in.
        raise TypeError("policies compose with |, & and ~, not with or, and, not")

    def __invert__(self) -> Policy:
        return Not(self)


@dataclass(frozen=True)
class IsOwner(Policy):
    """The user recorded as the instance's owner."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Compare ``metadata.owner`` with the user's id, exactly."""
        return same_id(config.metadata.owner, user.user_id)


@dataclass(frozen=True)
class IsAdmin(Policy):
    """A user with one of ``roles`` (``ADMIN_ROLES`` where none are given)."""

    roles: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.roles is not None:
            object.__setattr__(self, "roles", tuple(check_names("roles", self.roles)))

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Look for an admin's role."""
        if self.roles is None:
            raise TypeError(
                "IsAdmin() learns its roles from bind(settings); ask IsAdmin(roles) directly"
            )
        return not user.is_anonymous and any(role in user.roles for role in self.roles)

    def bind(self, settings: Settings) -> Policy:
        """Read ``ADMIN_ROLES``."""
        return self if self.roles is not None else IsAdmin(settings.admin_roles)


@dataclass(frozen=True)
class IsTenantMember(Policy):
    """A member of the tenant that the instance belongs to."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Look for ``metadata.tenant_id`` among the user's own tenants."""
        tenant = config.metadata.tenant_id
        return not user.is_anonymous and any(same_id(tenant, mine) for mine in user.tenant_ids)


@dataclass(frozen=True)
class HasRole(Policy):
    """A user with this role."""

    role: str

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Look for the role among the user's."""
        return not user.is_anonymous and self.role in user.roles


@dataclass(frozen=True)
class HasFeature(Policy):
    """Anyone, where the instance has this feature switched on."""

    feature: str

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Look at the instance's feature flag."""
        return config.has_feature(self.feature)


@dataclass(frozen=True)
class AnyOf(Policy):
    """Users that one of ``policies`` allows; asked in order, so put the cheap ones first."""

    policies: tuple[Allows, ...]

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Ask until one allows it."""
        for policy in self.policies:
            answer = policy.allows(user, config)
            if answer is True:
                return True
            if answer is not False:
                raise _undecided(policy, answer)
        return False

    def bind(self, settings: Settings) -> Policy:
        """Bind each of the policies."""
        return replace(self, policies=tuple(bind(policy, settings) for policy in self.policies))


class AllOf(AnyOf):
    """Users that every one of ``policies`` allows."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Ask until one refuses it."""
        return all(verdict(policy, user, config) for policy in self.policies)


@dataclass(frozen=True)
class Not(Policy):
    """Users that ``policy`` does not allow."""

    policy: Allows

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        """Ask, and return the opposite."""
        return not verdict(self.policy, user, config)

    def bind(self, settings: Settings) -> Policy:
        """Bind the inner policy."""
        return Not(bind(self.policy, settings))


owner_or_admin = IsOwner() | IsAdmin()
"""The default of ``ACCESS_POLICY``. Where no owner is recorded: admins only."""


def denied_here(config: InstanceConfig) -> AccessDenied:
    """Return the error of a policy that a view, a block or a task asks beside ``ACCESS_POLICY``."""
    what = f"instance {config.instance_id!r}"
    return AccessDenied(f"You may not do this in {what}.", instance_id=config.instance_id)


def authorize(user: LookupUser, config: InstanceConfig, policy: Allows) -> Grant:
    """Return the proof that ``user`` may have ``config``.

    ``policy`` is bound to the settings already; the site itself needs none. Every answer of a
    resolver passes here: fresh or stale, from the service or a cache. Raises ``AccessDenied``, and
    ``TypeError`` if the policy does not answer with a bool.
    """
    answer = user.is_service or policy.allows(user, config)
    if answer is True:
        return Grant(config)
    if answer is not False:
        raise _undecided(policy, answer)
    raise AccessDenied(
        f"You may not use instance {config.instance_id!r}.", instance_id=config.instance_id
    )


def bind(policy: Allows, settings: Settings) -> Allows:
    """Return ``policy`` with what it takes from the settings filled in."""
    return policy.bind(settings) if isinstance(policy, Policy) else policy


def verdict(policy: Allows, user: LookupUser, config: InstanceConfig) -> bool:
    """Return what ``policy`` says of ``user`` and ``config``.

    Raises ``TypeError`` for other than a bool: a coroutine that was not awaited would be true.
    """
    answer = policy.allows(user, config)
    if answer is True or answer is False:
        return answer
    raise _undecided(policy, answer)


def _undecided(policy: Allows, answer: object) -> TypeError:
    answered = type(answer).__name__
    return TypeError(f"{policy!r}.allows() must return True or False, not {answered}")


def same_id(left: str | None, right: str | None) -> bool:
    """Compare two ids exactly; an absent or blank id equals no other."""
    return left == right and left is not None and left.strip() != ""
