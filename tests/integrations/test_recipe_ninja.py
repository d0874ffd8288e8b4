from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.testing import FakeConfigService
    from tests.integrations.recipe import Recipe

TOKENS = """
from django.core import signing
made["tokens"] = {str(user): signing.dumps(user.pk, salt="api") for user in (OLGA, SAM, ADA)}
"""


@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_api(build: Callable[..., Recipe], service: FakeConfigService, asgi: bool) -> None:
    """Each operation answers its owner, and each error has its own status."""
    recipe = build("django-ninja")
    recipe.seed(TOKENS)
    bearer = {name: f"Bearer {token}" for name, token in recipe.made["tokens"].items()}
    with recipe.served(asgi=asgi) as visit:

        def ask(path: str, user: str | None, instance: str | None = "acme") -> tuple[int, object]:
            headers = {"Authorization": bearer[user]} if user else {}
            answer = visit(f"api/{path}", instance, headers=headers)
            assert "sk-very-secret" not in answer.text
            return answer.status_code, answer.json()

        worker = {"worker": "https://render.example/jobs"}
        assert ask("jobs?colour=red", "olga") == (200, worker | {"colour": "red"})
        assert ask("jobs-async", "olga") == (200, worker)
        assert ask("billing", "olga") == (200, {"name": "Acme"})
        for path in ("jobs", "jobs-async", "billing"):
            assert ask(path, None)[0] == 401
            assert ask(path, "sam")[0] == 403
            assert ask(path, "olga", None)[0] == 400
            assert ask(path, "olga", "nothing")[0] == 404
        assert ask("jobs", "ada")[0] == 200
        assert ask("billing", "ada")[0] == 403  # a policy stricter than the site's
        problem: Any = ask("jobs", "sam")[1]
        assert problem["type"] == "urn:instance-lookup:access-denied"
        service.fail(503)
        assert {ask(path, "olga", "initech")[0] for path in ("jobs", "billing")} == {503}
        # The session's user does not count beside the token's.
        headers = {"Authorization": bearer["sam"], "Cookie": f"sessionid={recipe.sessions['olga']}"}
        assert visit("api/jobs", headers=headers).status_code == 403
    assert "sk-very-secret" not in recipe.log
