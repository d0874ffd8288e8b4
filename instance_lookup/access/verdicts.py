"""Why a policy lets a user have a configuration, or does not: its verdict as a tree."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from instance_lookup.access import (
    AllOf,
    AnyOf,
    HasFeature,
    HasRole,
    IsAdmin,
    IsOwner,
    IsTenantMember,
    Not,
)
from instance_lookup.concurrency.deferred import NotLoaded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from instance_lookup.access import Allows
    from instance_lookup.types import InstanceConfig
    from instance_lookup.users import LookupUser

_LISTED = 10
"""Names that a reason repeats, of roles and tenants."""


class Answer(StrEnum):
    """What a policy, or a part of one, said."""

    YES = "yes"
    NO = "no"
    NOT_ASKED = "not asked"
    """Another part had decided before."""
    FAILED = "failed"
    """It raised an error, or returned neither True nor False: the lookup fails."""


class Verdict(Struct, frozen=True):
    """What one policy said of a user and a configuration, and what its parts said."""

    rule: str
    """The policy: the name of one that ships, the repr of a project's own."""
    answer: Answer
    reason: str = ""
    """What was compared; empty where only the project's own class knows."""
    hint: str = ""
    """What may be wrong, and what to do."""
    parts: tuple[Verdict, ...] = ()
    """Of a composed policy, in the order in which they are asked."""

    def __str__(self) -> str:
        said = f"{self.rule}: {self.answer.value}"
        return f"{said}: {self.reason}" if self.reason else said

    @property
    def deciding(self) -> tuple[Verdict, ...]:
        """The innermost parts that made the answer what it is; all of them where each had to."""
        same = [part for part in self.parts if part.answer is self.answer]
        chosen = self.parts if self.rule == _NOT else same
        return tuple(leaf for part in chosen for leaf in part.deciding) or (self,)

    @property
    def hints(self) -> tuple[str, ...]:
        """The hints of all parts, each once."""
        inner = (hint for part in self.parts for hint in part.hints)
        return tuple(dict.fromkeys(hint for hint in (self.hint, *inner) if hint))

    def lines(self, indent: str = "") -> Iterator[str]:
        """Yield the tree as text, a line for each part, without hints."""
        yield f"{indent}{self}"
        for part in self.parts:
            yield from part.lines(indent + "  ")

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as a dict for JSON."""
        values: dict[str, Any] = to_builtins(self)
        return values


def verdict_tree(
    policy: Allows, user: LookupUser, config: InstanceConfig, names: Collection[str] = ()
) -> Verdict:
    """Return what ``policy`` says of ``user`` and ``config``, part by part.

    ``policy`` is bound to the settings, as ``resolver.policy`` is. It is asked as a lookup asks it:
    in order, and no further than needed. ``names`` are what else the user is called, such as their
    username and e-mail: an owner that is one of these gets a hint. Raises ``NotLoaded`` in an event
    loop where the user takes a query, and nothing else: a policy that fails is part of the verdict.
    """
    if user.is_service:
        return Verdict("LookupUser.service()", Answer.YES, "the site may have every instance")
    kind = type(policy)
    if isinstance(policy, AnyOf) and kind in (AnyOf, AllOf):
        return _composed(policy, user, config, names)
    if isinstance(policy, Not) and kind is Not:
        part = verdict_tree(policy.policy, user, config, names)
        return Verdict(_NOT, _OPPOSITE.get(part.answer, part.answer), parts=(part,))
    rule = _name(policy)
    try:
        answer: Any = policy.allows(user, config)
        if not isinstance(answer, bool):
            with suppress(AttributeError):  # a coroutine that is never awaited says so on stderr
                answer.close()
            return Verdict(rule, Answer.FAILED, f"returned {type(answer).__name__}, no bool")
        reason = _reason(policy, user, config) if kind in _OURS else ""
    except NotLoaded:
        raise
    except Exception as exc:  # noqa: BLE001  # of a project's own policy; its text may hold anything
        return Verdict(rule, Answer.FAILED, f"raised {type(exc).__name__}")
    hint = "" if answer or kind is not IsOwner else _owner_hint(user, config, names)
    return Verdict(rule, Answer.YES if answer else Answer.NO, reason, hint)


def deciding_rule(policy: Allows, user: LookupUser, config: InstanceConfig) -> str:
    """Return what decided that ``policy`` lets ``user`` have ``config`` or not, for one log line.

    ``policy`` is bound to the settings, and was asked before: nothing is loaded. Raises nothing.
    """
    with suppress(NotLoaded):  # a policy that decides by chance may ask for more than before
        tree = verdict_tree(policy, user, config)
        return "; ".join(map(str, tree.deciding))
    return _name(policy)


def _composed(
    policy: AnyOf, user: LookupUser, config: InstanceConfig, names: Collection[str]
) -> Verdict:
    decides, answer = (Answer.NO, Answer.YES) if type(policy) is AllOf else (Answer.YES, Answer.NO)
    parts: list[Verdict] = []
    is_decided = False
    for part in policy.policies:
        if is_decided:
            parts.append(_not_asked(part))
            continue
        said = verdict_tree(part, user, config, names)
        parts.append(said)
        if said.answer in (decides, Answer.FAILED):
            answer, is_decided = said.answer, True
    return Verdict(type(policy).__name__, answer, parts=tuple(parts))


def _not_asked(policy: Allows) -> Verdict:
    parts: tuple[Allows, ...] = ()
    if isinstance(policy, AnyOf):
        parts = policy.policies
    elif isinstance(policy, Not):
        parts = (policy.policy,)
    return Verdict(_name(policy), Answer.NOT_ASKED, parts=tuple(map(_not_asked, parts)))


def _name(policy: Allows) -> str:
    """Return what a policy is called: by its own repr, unless that only tells its address."""
    kind = type(policy)
    if kind in _NAMED_BY_CLASS or kind.__repr__ is object.__repr__:
        return kind.__name__
    try:
        return repr(policy)
    except Exception:  # noqa: BLE001  # of a project's own
        return kind.__name__


def _reason(policy: Allows, user: LookupUser, config: InstanceConfig) -> str:
    """Return what a policy that ships has compared."""
    match policy:
        case IsOwner():
            owner = config.metadata.owner
            recorded = "no owner is recorded" if _is_blank(owner) else f"owner is {owner!r}"
            return f"{recorded}, {_who(user)}"
        case HasFeature(feature):
            return f"the feature is {'on' if config.has_feature(feature) else 'off'}"
        case _ if user.is_anonymous:
            return _who(user)
        case IsTenantMember():
            tenant = config.metadata.tenant_id
            recorded = "no tenant is recorded" if _is_blank(tenant) else f"tenant is {tenant!r}"
            return f"{recorded}, the user's are {_listed(user.tenant_ids)}"
        case IsAdmin(roles):
            return (
                f"asks for {_listed(roles or (), ' or ')}, the user's roles: {_listed(user.roles)}"
            )
        case _:
            return f"the user's roles: {_listed(user.roles)}"


def _who(user: LookupUser) -> str:
    return "the user is anonymous" if user.is_anonymous else f"user is {user.user_id!r}"


def _listed(names: Collection[str], sign: str = ", ") -> str:
    shown = sorted(map(repr, names))
    more = len(shown) - _LISTED
    if more > 0:
        shown = [*shown[:_LISTED], f"{more} more"]
    return sign.join(shown) or "none"


def _is_blank(name: str | None) -> bool:
    return name is None or not name.strip()


def _owner_hint(user: LookupUser, config: InstanceConfig, names: Collection[str]) -> str:
    owner, user_id = config.metadata.owner, user.user_id
    if owner is None or _is_blank(owner):
        return (
            "The Config Service records no owner, so only admins get in: have it send"
            " metadata.owner, the user's id."
        )
    if user_id is None:
        return ""
    if owner in names:
        return (
            f"The owner {owner!r} is this user's name or e-mail, and ids are compared: have the"
            f" Config Service record {user_id!r}, or have USER_CONTEXT return {owner!r} as user_id."
        )
    if _spelled(owner) == _spelled(user_id):
        return (
            f"The owner {owner!r} and the user's id {user_id!r} differ in spelling only, and ids"
            f" are compared exactly: have the Config Service record {user_id!r}."
        )
    return ""


def _spelled(name: str) -> str:
    """Return an id without what two spellings of one differ in: case, blanks, hyphens of UUIDs."""
    return "".join(name.split()).replace("-", "").casefold()


_NOT = Not.__name__
_OPPOSITE = {Answer.YES: Answer.NO, Answer.NO: Answer.YES}
_NAMED_BY_CLASS = frozenset({AllOf, AnyOf, IsAdmin, IsOwner, IsTenantMember, Not})
_OURS = frozenset({HasFeature, HasRole, IsAdmin, IsOwner, IsTenantMember})
"""A subclass is a project's own: it may compare something else."""
