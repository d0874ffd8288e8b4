from __future__ import annotations

from typing import Any

import pytest

from instance_lookup.access import (
    AllOf,
    AnyOf,
    HasFeature,
    HasRole,
    IsAdmin,
    IsOwner,
    IsTenantMember,
    Policy,
    authorize,
    bind,
    same_id,
)
from instance_lookup.conf import Settings
from instance_lookup.types import InstanceConfig, InstanceMetadata
from instance_lookup.users import LookupUser

ADMIN = IsAdmin(("admin",))
NOBODY, SERVICE = LookupUser.anonymous(), LookupUser.service()
BLANK_ADMIN = LookupUser(" ", roles=("admin", "editor"), tenant_ids=("t1",))


class Says(Policy):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return self.answer  # type: ignore[no-any-return]


class Duck:
    """A policy without our base class, as a project may write one."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return user.user_id == "duck"


class AsyncPolicy(Policy):
    async def allows(  # type: ignore[override]
        self, user: LookupUser, config: InstanceConfig
    ) -> bool:
        return False


YES, NO = Says(True), Says(False)


def config_of(owner: str | None = None, tenant: str | None = None, **flags: bool) -> InstanceConfig:
    metadata = InstanceMetadata(owner=owner, tenant_id=tenant)
    return InstanceConfig(instance_id="acme", metadata=metadata, features=flags)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        *[("7", "7", True), ("A", "a", False), ("7", "7 ", False), ("é", "e\u0301", False)],
        *[("", "", False), (" ", " ", False), (None, None, False), ("", None, False)],
        *[("\u3000", "\u3000", False), (None, "7", False), ("7", None, False), ("07", "7", False)],
    ],
)
def test_same_id(left: str | None, right: str | None, same: bool) -> None:
    """Ids are compared exactly; blank and absent ones are equal to nothing, not to each other."""
    assert same_id(left, right) is same


@pytest.mark.parametrize(
    ("policy", "user", "config", "allowed"),
    [
        (IsOwner(), LookupUser("7"), config_of("7"), True),
        (IsOwner(), LookupUser("8"), config_of("7"), False),
        (IsOwner(), LookupUser("7"), config_of(None), False),
        (IsOwner(), LookupUser(""), config_of(""), False),
        (IsOwner(), NOBODY, config_of(None), False),
        (ADMIN, LookupUser("7", roles=["admin"]), config_of(), True),
        (ADMIN, LookupUser("7", roles=["Admin", "administrator"]), config_of(), False),
        (ADMIN, BLANK_ADMIN, config_of(), False),
        (IsAdmin(()), LookupUser("7", roles=["admin"]), config_of(), False),
        (IsTenantMember(), LookupUser("7", tenant_ids=["t0", "t1"]), config_of(tenant="t1"), True),
        (IsTenantMember(), LookupUser("7", tenant_ids=["t1"]), config_of(tenant="t2"), False),
        (IsTenantMember(), LookupUser("7", tenant_ids=[""]), config_of(tenant=""), False),
        (IsTenantMember(), LookupUser("7", tenant_ids=["t1"]), config_of(), False),
        (IsTenantMember(), BLANK_ADMIN, config_of(tenant="t1"), False),
        (HasRole("editor"), LookupUser("7", roles=["editor"]), config_of(), True),
        (HasRole("edit"), LookupUser("7", roles=["editor"]), config_of(), False),
        (HasRole("editor"), BLANK_ADMIN, config_of(), False),
        (HasFeature("shared"), NOBODY, config_of(shared=True), True),
        (HasFeature("shared"), LookupUser("7"), config_of(shared=False), False),
        (HasFeature("shared"), LookupUser("7"), config_of(), False),
        (Duck(), LookupUser("duck"), config_of(), True),
    ],
)
def test_policy(policy: Any, user: LookupUser, config: InstanceConfig, allowed: bool) -> None:
    """Each policy compares what it looks at exactly."""
    assert policy.allows(user, config) is allowed


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        *[(YES | NO, True), (NO | YES, True), (NO | NO, False)],
        *[(YES & YES, True), (YES & NO, False), (NO & YES, False)],
        *[(~NO, True), (~YES, False), (~~YES, True), (~(YES | NO), False)],
        (YES | NO & NO, True),
        ((YES | NO) & NO, False),
        (NO | Duck(), False),
        (YES & Duck(), False),
        (AnyOf(()), False),
        (AllOf((YES, YES, NO)), False),
    ],
)
def test_composition(policy: Policy, allowed: bool) -> None:
    """`|`, `&` and `~` mean what they mean for sets, and bind as tightly."""
    assert policy.allows(LookupUser("7"), config_of()) is allowed


def test_later_policies_are_asked_only_if_needed() -> None:
    """A later policy of a composition is asked only if it is needed: it may cost a query."""
    assert (YES | Says(None)).allows(LookupUser("7"), config_of())
    assert not (NO & Says(None)).allows(LookupUser("7"), config_of())


@pytest.mark.parametrize("other", [IsAdmin, True, None, "admin", len])
def test_composition_with_what_is_no_policy(other: Any) -> None:
    """A composition with something that is no policy raises when it is written."""
    with pytest.raises(TypeError, match="unsupported operand"):
        IsOwner() | other
    with pytest.raises(TypeError, match="unsupported operand"):
        IsOwner() & other


def test_policies_are_neither_true_nor_false() -> None:
    """A policy used with "and" raises: `IsOwner() and X` would be X alone, and let others in."""
    for policy in (IsOwner(), ~IsOwner(), IsOwner() | ADMIN):
        with pytest.raises(TypeError, match=r"compose with \|, & and ~, not with or, and, not"):
            bool(policy)


@pytest.mark.parametrize("answer", [None, 1, "yes", object()])
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: ~p, lambda p: p | NO, lambda p: p & YES])
def test_answer_that_is_no_bool(answer: object, wrap: Any) -> None:
    """A policy that returns a true value other than True raises, and lets no user in."""
    with pytest.raises(TypeError, match=r"allows\(\) must return True or False, not"):
        authorize(LookupUser("7"), config_of(), wrap(Says(answer)))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: ~p, lambda p: p | NO, lambda p: p & YES])
def test_async_policy_is_refused(wrap: Any) -> None:
    """An async policy raises: its coroutine counts as true and would let each user in."""
    with pytest.raises(TypeError, match="must return True or False, not coroutine"):
        authorize(LookupUser("7"), config_of("7"), wrap(AsyncPolicy()))


def test_is_admin_reads_the_settings() -> None:
    """A bound ``IsAdmin`` uses `ADMIN_ROLES`, also in a composition; its own roles stay."""
    settings = Settings(admin_roles=("root",))
    root, boss = LookupUser("7", roles=("root",)), LookupUser("8", roles=("boss",))
    for policy in (IsAdmin(), NO | IsAdmin(), YES & IsAdmin(), ~~IsAdmin()):
        assert bind(policy, settings).allows(root, config_of())
        assert not bind(policy, settings).allows(boss, config_of())
    assert bind(IsAdmin(["boss"]), settings).allows(boss, config_of())
    assert bind(NO | Duck(), settings).allows(LookupUser("duck"), config_of())


def test_is_admin_unbound() -> None:
    """``IsAdmin`` without bound settings raises."""
    with pytest.raises(TypeError, match=r"learns its roles from bind\(settings\)"):
        IsAdmin().allows(LookupUser("7", roles=("admin",)), config_of())


def test_is_admin_refuses_a_string() -> None:
    """`IsAdmin("admin")` raises: it would let in a member of the group "a"."""
    with pytest.raises(TypeError, match=r"roles must be a collection .* \('admin',\)"):
        IsAdmin("admin")


@pytest.mark.parametrize("roles", [["a"], {"a"}, ("a",)])
def test_policies_can_be_keys(roles: Any) -> None:
    """Policies are hashable, as the settings that hold them must be."""
    policy = IsOwner() | IsAdmin(roles) & ~HasFeature("x")
    assert hash(policy) == hash(IsOwner() | IsAdmin(("a",)) & ~HasFeature("x"))
    assert policy == IsOwner() | IsAdmin(("a",)) & ~HasFeature("x")


def test_any_is_not_all() -> None:
    """`Any` and `All` of the same policies are not equal."""
    assert AnyOf((YES, NO)) != AllOf((YES, NO))
