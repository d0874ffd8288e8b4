from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integrations.recipe import Recipe

TOKENS = """
from rest_framework_simplejwt.tokens import AccessToken
def token_of(user, **claims):
    token = AccessToken.for_user(user)
    for name, value in claims.items():
        token[name] = value
    return str(token)
OLGA.set_password("sesame")
OLGA.save()
IAN = User.objects.create(username="ian", pk=4)
made["plain"] = {str(user): token_of(user) for user in (OLGA, SAM, ADA)}
authority = {"is_superuser": True, "is_staff": True, "groups": ["admin"], "roles": ["admin"]}
authority |= {"tenant_ids": ["acme"], "default_instance_id": "acme", "owner": "1"}
made["claims"] = token_of(SAM, **authority)
made["off"] = token_of(IAN)
User.objects.filter(pk=4).update(is_active=False)
"""


def test_tokens(build: Callable[..., Recipe]) -> None:
    """Both kinds of users have what they own, and no claim gives more."""
    recipe = build("simplejwt")
    recipe.seed(TOKENS)
    with recipe.served() as visit:

        def status(path: str, token: str, instance: str | None = "acme", **headers: str) -> int:
            headers |= {"Authorization": f"Bearer {token}"}
            return visit(f"api/{path}/", instance, headers=headers).status_code

        got = visit("token/", method="POST", json={"username": "olga", "password": "sesame"})
        plain, claims = recipe.made["plain"], recipe.made["claims"]
        for path in ("where", "where-stateless"):
            assert status(path, got.json()["access"]) == 200
            assert status(path, plain["olga"]) == 200
            assert status(path, plain["sam"]) == 403
            assert status(path, plain["sam"], "globex") == 200
            assert status(path, claims, "globex") == 200
            assert status(path, claims) == 403
            assert status(path, claims, None) == 400  # nor a default that the token names
            assert status(path, plain["olga"][:-2]) == 401
            # The session's user does not count beside the token's.
            cookie = f"sessionid={recipe.sessions['olga']}"
            assert status(path, plain["sam"], Cookie=cookie) == 403
        # An admin is one by the database, and by no token alone.
        assert status("where", plain["ada"]) == 200
        assert status("where-stateless", plain["ada"]) == 403
        assert status("where", recipe.made["off"]) == 401
