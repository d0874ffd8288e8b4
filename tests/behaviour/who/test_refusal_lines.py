"""A refusal is one line at INFO, with the rule that decided."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User

from instance_lookup import AccessDenied, InstanceLookupError, InstanceResolver
from instance_lookup.access import IsAdmin, IsOwner, Policy
from instance_lookup.access.verdicts import deciding_rule
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.context import LookupContext, RequestMetadata
from instance_lookup.users import LookupUser, user_context
from tests.behaviour.who.test_verdicts import config_of
from tests.support.doors import CALLERS, Caller, owned_by
from tests.support.lookups import ACME, SECRET, Twin

LOGGER = "instance_lookup.access"
METADATA = RequestMetadata(request_id="r-1")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Returns the lines about refusals so far."""
    caplog.set_level(logging.INFO, LOGGER)
    return lambda: [each.getMessage() for each in caplog.records if each.name == LOGGER]


class Refusing(DictConfigService):
    """Knows the instance, and gives it to no user."""

    def get_instance(self, instance_id: str, query: Any) -> Any:
        raise AccessDenied("not you", instance_id=instance_id)


def ask(call: Twin, resolver: InstanceResolver, user: LookupUser, **named: Any) -> None:
    named = named or {"instance_id": "acme"}
    with suppress(InstanceLookupError):
        call(resolver, "resolve", LookupContext(user, request_metadata=METADATA, **named))


RULES = "IsOwner: no: owner is 'olga', user is 'sam'; IsAdmin: no: asks for 'admin', the user's"


@pytest.mark.parametrize("conceal", [False, True])
def test_refusal_by_the_policy(call: Twin, lines: Any, conceal: bool) -> None:
    """A refusal names instance, user, request and the deciding parts, also a concealed one."""
    backend = DictConfigService({"acme": ACME}, {"shop": "acme"})
    resolver = InstanceResolver(config_service_backend=backend, conceal_denied=conceal)
    ask(call, resolver, LookupUser("sam"))
    ask(call, resolver, LookupUser("sam"), project_id="shop")
    first, second = lines()
    assert first.startswith(f"Refused instance 'acme' to user 'sam' (request 'r-1'): {RULES}")
    assert second.startswith("Refused instance 'acme' (project 'shop') to user 'sam'")
    assert SECRET not in first


def test_refusal_that_is_concealed_again(call: Twin, lines: Any) -> None:
    """A concealed refusal that is answered from memory is a line as well."""
    backend = DictConfigService({"acme": ACME}, {"shop": "acme"})
    resolver = InstanceResolver(config_service_backend=backend, conceal_denied=True)
    for _ in range(2):
        ask(call, resolver, LookupUser("sam"))
        ask(call, resolver, LookupUser("sam"), instance_id="unknown")
    assert [line.rpartition("): ")[2] for line in lines()][1:] == ["as decided a moment ago"]


@pytest.mark.parametrize("conceal", [False, True])
def test_refusal_by_the_service(call: Twin, lines: Any, conceal: bool) -> None:
    """A refusal by the service says so, each time."""
    backend = Refusing({"acme": ACME}, {"shop": "acme"})
    resolver = InstanceResolver(config_service_backend=backend, conceal_denied=conceal)
    ask(call, resolver, LookupUser("sam"))
    ask(call, resolver, LookupUser("sam"), project_id="shop")
    ask(call, resolver, LookupUser.service())
    assert lines() == [
        "Refused instance 'acme' to user 'sam' (request 'r-1'): the Config Service answered 403",
        "Refused project 'shop' to user 'sam' (request 'r-1'): the Config Service answered 403",
        "Refused instance 'acme' to the site itself (request 'r-1'): the Config Service answered"
        " 403",
    ]


def test_refusal_of_anonymous_callers(call: Twin, lines: Any) -> None:
    """An anonymous caller who is refused before anything is looked up is a line as well."""
    ask(call, InstanceResolver(config_service_backend=DictConfigService()), LookupUser(None))
    assert lines() == ["Refused any instance to user None (request 'r-1'): ALLOW_ANONYMOUS is off"]


def test_refusal_has_its_ids_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    """The record has the ids as attributes, for a formatter that writes JSON."""
    caplog.set_level(logging.INFO, LOGGER)
    resolver = InstanceResolver(config_service_backend=DictConfigService({"acme": ACME}))
    ask(Twin(is_async=False), resolver, LookupUser("sam"))
    (record,) = caplog.records
    about = {name: vars(record)[name] for name in ("instance_id", "user_id", "request_id")}
    assert about == {"instance_id": "acme", "user_id": "sam", "request_id": "r-1"}


def test_no_line_at_the_default_level(call: Twin, caplog: pytest.LogCaptureFixture) -> None:
    """Without INFO there is no line, and the policy is not asked again for one."""
    caplog.set_level(logging.WARNING, LOGGER)
    asked = []

    class Counting(Policy):
        def allows(self, user: LookupUser, config: Any) -> bool:
            asked.append(user)
            return False

    backend = DictConfigService({"acme": ACME})
    resolver = InstanceResolver(config_service_backend=backend, access_policy=Counting())
    ask(call, resolver, LookupUser("sam"))
    assert (len(asked), caplog.records) == (1, [])


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        ("thrice", "sam", "IsOwner: no: owner is '1', user is '2'; IsAdmin: no: "),
        ("athrice", "sam", "IsOwner: no: owner is '1', user is '2'; IsAdmin: no: "),
        ("required", "sam", "IsOwner: no: owner is '1', user is '2'; IsAdmin: no: "),
        ("owners", "ada", "IsOwner: no: owner is '1', user is '3'"),
        ("amixed_owners", "ada", "IsOwner: no: owner is '1', user is '3'"),
        ("aeditors", "olga", "HasRole(role='editor'): no: the user's roles: none"),
    ],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_refusal_by_a_view(
    db: None, service: Any, lines: Any, path: str, *, name: str, said: str, is_async: bool
) -> None:
    """A lookup that is refused is one line, however often a view reads it; a stricter view too."""
    users = {
        each: User.objects.create_user(each, pk=pk, is_superuser=each == "ada")
        for pk, each in enumerate(("olga", "sam", "ada"), 1)
    }
    service.instances["acme"] = owned_by(users["olga"])
    Caller(is_async=is_async).login(users[name])(path, "acme", x_request_id="r-1")
    (line,) = lines()
    who = f"user '{users[name].pk}'"
    assert line.startswith(f"Refused instance 'acme' to {who} (request 'r-1'): {said}")


async def test_rule_of_a_policy_that_asks_for_more() -> None:
    """In an event loop a policy that asks for what is not loaded is only named."""
    user = user_context(User(pk=7))
    policy = IsOwner() | IsAdmin(("admin",))
    assert deciding_rule(policy, user, config_of("1")) == "AnyOf"
    assert deciding_rule(policy, user, config_of("7")).startswith("IsOwner: yes")
