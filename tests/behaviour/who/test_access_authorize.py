"""`authorize`: the one place that every answer passes, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.test import override_settings

from instance_lookup.access import (
    authorize,
    bind,
    owner_or_admin,
)
from instance_lookup.concurrency.deferred import NotLoaded, call_when_loaded
from instance_lookup.conf import Settings
from instance_lookup.exceptions import AccessDenied
from instance_lookup.users import LookupUser, user_context
from tests.behaviour.who.test_access import NOBODY, SERVICE, config_of

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries


@pytest.mark.parametrize(
    ("user", "owner", "allowed"),
    [
        (LookupUser("7"), "7", True),
        (LookupUser("8"), "7", False),
        (LookupUser("8", roles=("admin",)), "7", True),
        (LookupUser("7"), None, False),
        (LookupUser("7"), "  ", False),
        (LookupUser("8", roles=("admin",)), None, True),
        (NOBODY, None, False),
        (NOBODY, "", False),
        (SERVICE, None, True),
        (SERVICE, "7", True),
    ],
)
def test_authorize_by_default(user: LookupUser, owner: str | None, allowed: bool) -> None:
    """Owner or admin; admins only where no owner is recorded; the site itself always."""
    config = config_of(owner)
    policy = bind(owner_or_admin, Settings())
    if allowed:
        assert authorize(user, config, policy).config is config
    else:
        with pytest.raises(AccessDenied, match="You may not use instance 'acme'") as caught:
            authorize(user, config, policy)
        assert caught.value.instance_id == "acme"


@pytest.mark.django_db
def test_owner_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """An owner costs no query: roles are read only for others."""
    user = User.objects.create_user("ada")
    config, policy = config_of(str(user.pk)), bind(owner_or_admin, Settings())
    with django_assert_num_queries(0):
        authorize(user_context(user), config, policy)


@pytest.mark.django_db
def test_others_cost_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """The groups of a user cost one query, however many configs are checked."""
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.create(name="ops"))
    policy = bind(owner_or_admin, Settings())
    with override_settings(INSTANCE_LOOKUP={"ADMIN_GROUPS": ["ops"]}):
        who = user_context(user)
        with django_assert_num_queries(1):
            authorize(who, config_of("other"), policy)
            authorize(who, config_of(None), policy)


@pytest.mark.django_db(transaction=True)
async def test_authorize_in_an_event_loop() -> None:
    """The owner is let in at once; for others the roles are loaded first."""
    user = await User.objects.acreate(username="ada", is_superuser=True)
    policy = bind(owner_or_admin, Settings())
    authorize(user_context(user), config_of(str(user.pk)), policy)
    who = user_context(user)
    with pytest.raises(NotLoaded):
        authorize(who, config_of("other"), policy)
    grant = await call_when_loaded(lambda: authorize(who, config_of("other"), policy))
    assert grant.config.metadata.owner == "other"
