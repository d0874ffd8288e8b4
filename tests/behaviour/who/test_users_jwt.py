from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import AccessToken

from instance_lookup.users import user_context

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries


def token_user(**claims: Any) -> TokenUser:
    token = AccessToken()
    token["user_id"] = "7"
    for name, value in claims.items():
        token[name] = value
    return TokenUser(token)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"roles": ["admin"], "profile": {"default_instance_id": "acme"}},
        {"email": ["a"], "tenant_ids": "t1", "default_instance_id": {"a": 1}, "is_superuser": "no"},
        {"tenant_ids": {"t1": True}, "default_instance_id": 5, "groups": ["admin"]},
    ],
)
@pytest.mark.django_db
def test_token_user_answers_any_attribute(
    claims: dict[str, Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """An attribute that a token lacks, or has with another type, counts as empty."""
    who = user_context(token_user(**claims))
    with django_assert_num_queries(0):
        assert (who.user_id, who.email, who.default_instance_id) == ("7", None, None)
        assert (set(who.roles), set(who.tenant_ids)) == (set(), set())


@pytest.mark.django_db
def test_token_user_with_proper_claims() -> None:
    """The token is signed by the site: ids of the right type in it are believed."""
    claims = {"tenant_ids": ["t1"], "default_instance_id": "acme", "is_superuser": True}
    who = user_context(token_user(**claims))
    assert (who.default_instance_id, who.tenant_ids, who.roles) == ("acme", {"t1"}, {"admin"})


def test_token_user_with_a_number_for_an_id() -> None:
    """The id is a string, also when the token's JSON has a number."""
    assert user_context(token_user(user_id=7)).user_id == "7"
