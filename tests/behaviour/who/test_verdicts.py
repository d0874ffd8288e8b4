from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from instance_lookup.access import (
    AllOf,
    AnyOf,
    HasFeature,
    HasRole,
    IsAdmin,
    IsOwner,
    IsTenantMember,
    Policy,
    owner_or_admin,
    verdict,
)
from instance_lookup.access.verdicts import Answer, Verdict, verdict_tree
from instance_lookup.concurrency.deferred import NotLoaded
from instance_lookup.types import InstanceConfig, InstanceMetadata
from instance_lookup.users import LookupUser, user_context

ADMIN = IsAdmin(("admin",))
SEVEN, NOBODY = LookupUser("7"), LookupUser.anonymous()


class OnWeekdays(Policy):
    """A project's own policy, without a repr of its own."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return False


class Named(Policy):
    """Has a repr of its own; ``answer`` is what it returns, or raises."""

    def __init__(self, answer: Any = False) -> None:
        self.answer = answer

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return "Named()"


class Nameless(OnWeekdays):
    def __repr__(self) -> str:
        raise ValueError


class Coroutine(Policy):
    async def allows(  # type: ignore[override]
        self, user: LookupUser, config: InstanceConfig
    ) -> bool:
        return True


class OwnerOfOwnKind(IsOwner):
    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return True


def config_of(owner: str | None = None, tenant: str | None = None, **flags: bool) -> InstanceConfig:
    metadata = InstanceMetadata(owner=owner, tenant_id=tenant)
    return InstanceConfig(instance_id="acme", metadata=metadata, features=flags)


@pytest.mark.parametrize(
    ("policy", "user", "config", "said"),
    [
        (IsOwner(), SEVEN, config_of("1"), "IsOwner: no: owner is '1', user is '7'"),
        (IsOwner(), SEVEN, config_of("7"), "IsOwner: yes: owner is '7', user is '7'"),
        (IsOwner(), SEVEN, config_of(), "IsOwner: no: no owner is recorded, user is '7'"),
        (IsOwner(), NOBODY, config_of(" "), "IsOwner: no: no owner is recorded, the user is anon"),
        (ADMIN, SEVEN, config_of(), "IsAdmin: no: asks for 'admin', the user's roles: none"),
        (ADMIN, NOBODY, config_of(), "IsAdmin: no: the user is anonymous"),
        (HasRole("a"), SEVEN, config_of(), "HasRole(role='a'): no: the user's roles: none"),
        (HasFeature("x"), SEVEN, config_of(x=True), "HasFeature(feature='x'): yes: the feature is"),
        (HasFeature("x"), SEVEN, config_of(), "HasFeature(feature='x'): no: the feature is off"),
        (IsTenantMember(), SEVEN, config_of(), "IsTenantMember: no: no tenant is recorded, the"),
        (
            IsTenantMember(),
            LookupUser("7", tenant_ids=["t1", "t2"]),
            config_of(tenant="t3"),
            "IsTenantMember: no: tenant is 't3', the user's are 't1', 't2'",
        ),
        (
            ADMIN,
            LookupUser("7", roles=[f"r{at:02}" for at in range(30)]),
            config_of(),
            "IsAdmin: no: asks for 'admin', the user's roles: 'r00', 'r01', 'r02', 'r03', 'r04',"
            " 'r05', 'r06', 'r07', 'r08', 'r09', 20 more",
        ),
        (OnWeekdays(), SEVEN, config_of(), "OnWeekdays: no"),
        (Named(True), SEVEN, config_of(), "Named(): yes"),
        (Nameless(), SEVEN, config_of(), "Nameless: no"),
        (OwnerOfOwnKind(), SEVEN, config_of("1"), "OwnerOfOwnKind(): yes"),
        (Coroutine(), SEVEN, config_of(), "Coroutine: failed: returned coroutine, no bool"),
        (Named(None), SEVEN, config_of(), "Named(): failed: returned NoneType, no bool"),
        (Named(OSError("secret")), SEVEN, config_of(), "Named(): failed: raised OSError"),
        (
            IsOwner(),
            LookupUser.service(),
            config_of("1"),
            "LookupUser.service(): yes: the site may",
        ),
    ],
)
def test_verdict_of_one_policy(
    policy: Any, user: LookupUser, config: InstanceConfig, said: str
) -> None:
    """A verdict names the rule, its answer, and what was compared; never the text of an error."""
    text = str(verdict_tree(policy, user, config))
    assert text.startswith(said)
    assert "secret" not in text


def test_tree_of_a_composed_policy() -> None:
    """A composed policy is a tree, in the order in which a lookup asks its parts."""
    policy = IsOwner() | OnWeekdays() & HasRole("a") | ~(Named(True) & ADMIN)
    assert list(verdict_tree(policy, SEVEN, config_of("1")).lines()) == [
        "AnyOf: yes",
        "  AnyOf: no",
        "    IsOwner: no: owner is '1', user is '7'",
        "    AllOf: no",
        "      OnWeekdays: no",
        "      HasRole(role='a'): not asked",
        "  Not: yes",
        "    AllOf: no",
        "      Named(): yes",
        "      IsAdmin: no: asks for 'admin', the user's roles: none",
    ]


def test_parts_behind_the_deciding_one_are_not_asked() -> None:
    """Parts that a lookup would not ask are not asked here either, whole compositions too."""
    fails = Named(OSError())
    tree = verdict_tree(IsOwner() | ~fails | (fails & fails), SEVEN, config_of("7"))
    assert [line.strip() for line in tree.lines()][3:] == [
        "Not: not asked",
        "Named(): not asked",
        "AllOf: not asked",
        "Named(): not asked",
        "Named(): not asked",
    ]


@pytest.mark.parametrize(
    ("policy", "answer", "deciding"),
    [
        (IsOwner() | ADMIN, Answer.NO, ["IsOwner", "IsAdmin"]),
        (IsOwner() | Named(True), Answer.YES, ["Named()"]),
        (Named(True) & IsOwner() & OnWeekdays(), Answer.NO, ["IsOwner"]),
        (Named(True) & Named(True), Answer.YES, ["Named()", "Named()"]),
        (~Named(True), Answer.NO, ["Named()"]),
        (~(Named(True) | ADMIN), Answer.NO, ["Named()"]),
        (IsOwner() | Named(OSError()), Answer.FAILED, ["Named()"]),
        (~Named(OSError()), Answer.FAILED, ["Named()"]),
        (AnyOf(()), Answer.NO, ["AnyOf"]),
        (AllOf(()), Answer.YES, ["AllOf"]),
    ],
)
def test_deciding_parts(policy: Policy, answer: Answer, deciding: list[str]) -> None:
    """The deciding parts are those without which the answer would be another one."""
    tree = verdict_tree(policy, SEVEN, config_of("1"))
    assert tree.answer is answer
    assert [part.rule for part in tree.deciding] == deciding
    if answer is not Answer.FAILED:
        assert verdict(policy, SEVEN, config_of("1")) is (answer is Answer.YES)


@pytest.mark.parametrize(
    ("owner", "user", "hint"),
    [
        ("bob", SEVEN, "The owner 'bob' is this user's name or e-mail, and ids are compared"),
        ("7 ", SEVEN, "differ in spelling only"),
        ("AB-C", LookupUser("abc"), "differ in spelling only"),
        (None, SEVEN, "The Config Service records no owner, so only admins get in"),
        ("", SEVEN, "The Config Service records no owner"),
        ("1", SEVEN, None),
        ("7", SEVEN, None),
        ("1", NOBODY, None),
    ],
)
def test_hint(owner: str | None, user: LookupUser, hint: str | None) -> None:
    """An owner that is a username, a spelling or not there gets a hint of its own each."""
    tree = verdict_tree(owner_or_admin, user, config_of(owner), names=("bob", "bob@example.com"))
    if hint is None:
        assert tree.hints == ()
    else:
        (found,) = tree.hints
        assert hint in found


def test_hints_come_once() -> None:
    """A hint of two parts is given once."""
    tree = verdict_tree(IsOwner() | (IsOwner() & ADMIN), SEVEN, config_of())
    assert len(tree.hints) == 1


def test_tree_as_json() -> None:
    """The tree is a dict that JSON takes."""
    tree = verdict_tree(IsOwner() | ADMIN, SEVEN, config_of("1"))
    document = json.loads(json.dumps(tree.as_dict()))
    assert document["answer"] == "no"
    assert [part["rule"] for part in document["parts"]] == ["IsOwner", "IsAdmin"]


@pytest.mark.django_db
def test_verdict_of_a_django_user() -> None:
    """Roles of a Django user are their groups, read from the database."""
    bob = User.objects.create_user("bob")
    bob.groups.add(Group.objects.create(name="editor"))
    tree = verdict_tree(ADMIN, user_context(bob), config_of())
    assert str(tree) == "IsAdmin: no: asks for 'admin', the user's roles: 'editor'"


async def test_verdict_in_an_event_loop() -> None:
    """What takes a query raises ``NotLoaded`` in an event loop, as a lookup expects it."""
    user = user_context(User(pk=7, username="bob"))
    with pytest.raises(NotLoaded):
        verdict_tree(ADMIN, user, config_of())


def test_verdict_without_a_reason_is_one_line() -> None:
    """A verdict without a reason ends with its answer."""
    assert str(Verdict("Mine", Answer.NOT_ASKED)) == "Mine: not asked"
