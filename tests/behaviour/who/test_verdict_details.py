"""What a verdict says word for word, and what it says of policies that a project has derived."""

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
    Not,
    authorize,
)
from instance_lookup.access.verdicts import Answer, verdict_tree
from instance_lookup.users import LookupUser
from tests.behaviour.who.test_access import config_of
from tests.behaviour.who.test_verdicts import ADMIN, Named

SEVEN = LookupUser("7")


class AllowsAnyway(AnyOf):
    """A project's own, which asks its parts nothing."""

    def allows(self, user: LookupUser, config: Any) -> bool:
        return True


class Denies(Not):
    def allows(self, user: LookupUser, config: Any) -> bool:
        return False


@pytest.mark.parametrize(
    ("policy", "answer"),
    [(AllowsAnyway((IsOwner(),)), Answer.YES), (Denies(IsOwner()), Answer.NO)],
)
def test_derived_composition_is_a_projects_own(policy: Any, answer: Answer) -> None:
    """A subclass of a composed policy is asked itself, and its parts are not."""
    tree = verdict_tree(policy, SEVEN, config_of("1"))
    assert (tree.answer, tree.parts) == (answer, ())


def test_negated_policy_looks_at_the_config() -> None:
    """A negated policy decides by the configuration, in the lookup and in the verdict."""
    on, off = config_of(beta=True), config_of(beta=False)
    policy = ~HasFeature("beta")
    assert (policy.allows(SEVEN, on), policy.allows(SEVEN, off)) == (False, True)
    assert verdict_tree(policy, SEVEN, on).answer is Answer.NO
    assert verdict_tree(policy, SEVEN, off).answer is Answer.YES


def test_negated_policy_passes_the_names_on() -> None:
    """The owner of a negated policy is compared with the user's other names, too."""
    hints = verdict_tree(~IsOwner(), SEVEN, config_of("olga"), names=["olga"]).hints
    assert hints[0].startswith("The owner 'olga' is this user's name or e-mail")


@pytest.mark.parametrize(("kind", "first"), [(AnyOf, True), (AllOf, False)])
def test_every_part_is_in_the_tree(kind: Any, first: bool) -> None:
    """All parts behind the deciding one are named as not asked, and not just the next."""
    policy = kind((Named(first), HasRole("a"), HasRole("b")))
    answers = [part.answer for part in verdict_tree(policy, SEVEN, config_of()).parts]
    assert answers == [Answer(("no", "yes")[first]), Answer.NOT_ASKED, Answer.NOT_ASKED]


@pytest.mark.parametrize(
    ("policy", "user", "reason"),
    [
        (HasFeature("x"), SEVEN, "the feature is on"),
        (HasFeature("y"), SEVEN, "the feature is off"),
        (IsAdmin(("a", "b")), SEVEN, "asks for 'a' or 'b', the user's roles: none"),
        *(
            (ADMIN, LookupUser("7", roles=[f"r{at:02}" for at in range(number)]), f"{last}")
            for number, last in ((10, "'r09'"), (11, "'r09', 1 more"), (12, "'r09', 2 more"))
        ),
    ],
)
def test_reason_is_whole(policy: Any, user: LookupUser, reason: str) -> None:
    """A reason says what was compared, and counts the names that it leaves out."""
    assert verdict_tree(policy, user, config_of(x=True)).reason.endswith(reason)


@pytest.mark.parametrize(
    ("owner", "user_id", "hint"),
    [
        (
            None,
            "7",
            "The Config Service records no owner, so only admins get in: have it send"
            " metadata.owner, the user's id.",
        ),
        (
            "a B",
            "ab",
            "The owner 'a B' and the user's id 'ab' differ in spelling only, and ids are compared"
            " exactly: have the Config Service record 'ab'.",
        ),
    ],
)
def test_hint_is_whole(owner: str | None, user_id: str, hint: str) -> None:
    """A hint says what is wrong and what to do."""
    assert verdict_tree(IsOwner(), LookupUser(user_id), config_of(owner)).hint == hint


@pytest.mark.parametrize(
    "policy", [Named("y"), ~Named("y"), Named("y") | ADMIN, ADMIN & Named("y")]
)
def test_policy_that_does_not_decide_is_named(policy: Any) -> None:
    """The error for an answer that is no bool names the policy that gave it."""
    user = LookupUser("7", roles=("admin",))
    with pytest.raises(TypeError) as caught:
        authorize(user, config_of(), policy)
    assert str(caught.value) == "Named().allows() must return True or False, not str"


def test_messages_for_programmers_are_whole() -> None:
    """The errors for wrong code say what to write instead."""
    with pytest.raises(TypeError) as caught:
        bool(IsOwner())
    assert str(caught.value) == "policies compose with |, & and ~, not with or, and, not"
    with pytest.raises(TypeError) as caught:
        IsAdmin().allows(SEVEN, config_of())
    assert str(caught.value) == (
        "IsAdmin() learns its roles from bind(settings); ask IsAdmin(roles) directly"
    )
