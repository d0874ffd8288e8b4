from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.testing import FakeConfigService
    from tests.integrations.recipe import Recipe

ASKED = {"query": "{ instance { id name beta } }"}
CASES = [
    pytest.param("graphql/", False, id="sync wsgi"),
    pytest.param("graphql/", True, id="sync asgi"),
    pytest.param("graphql-async/", False, id="async wsgi"),
    pytest.param("graphql-async/", True, id="async asgi"),
]


@pytest.mark.parametrize(("path", "asgi"), CASES)
def test_query(
    build: Callable[..., Recipe], service: FakeConfigService, path: str, asgi: bool
) -> None:
    """The owner gets the instance, others an error with its type and status, and no one a key."""
    recipe = build("graphql")
    line = (
        'path("strict/", instance_required(GraphQLView.as_view(schema=strawberry.Schema(Query))))'
    )
    other = line.replace("strict/", "strict-async/").replace("GraphQLView", "AsyncGraphQLView")
    recipe.site.replace(
        "mysite/urls.py", {line: f"{line}, {other.replace('(Query', '(AsyncQuery')}"}
    )
    recipe.seed()
    with recipe.served(asgi=asgi) as visit:
        # As a client of an API does: the cookie of the session goes with a token against CSRF.
        csrf = {"X-CSRFToken": "x" * 32}

        def post(to: str, user: str | None, instance: str | None, asked: Any = ASKED) -> Any:
            cookie = "csrftoken=" + "x" * 32
            if user:
                cookie += f"; sessionid={recipe.sessions[user]}"
            headers = csrf | {"Cookie": cookie}
            answer = visit(to, instance, method="POST", json=asked, headers=headers)
            assert "sk-very-secret" not in answer.text
            return answer

        def ask(user: str | None, instance: str | None = "acme", asked: Any = ASKED) -> Any:
            answer = post(path, user, instance, asked)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def refusal(user: str | None, instance: str | None = "acme") -> tuple[str, int]:
            answer = ask(user, instance)
            assert answer["data"] is None
            (error,) = answer["errors"]
            assert error["path"] == ["instance"]
            return error["extensions"]["type"], error["extensions"]["status"]

        acme = {"id": "acme", "name": "Acme", "beta": True}
        assert ask("olga") == {"data": {"instance": acme}}
        assert refusal("sam") == ("ACCESS_DENIED", 403)
        assert refusal(None) == ("ACCESS_DENIED", 403)
        assert refusal("olga", None) == ("INVALID_CONTEXT", 400)
        assert refusal("olga", "nothing") == ("INSTANCE_NOT_FOUND", 404)
        strict = [("olga", "acme"), ("sam", "acme"), ("olga", None), ("olga", "nothing")]
        for to in ("strict/", "strict-async/"):
            assert [post(to, *each).status_code for each in strict] == [200, 403, 400, 404]
        service.fail(503)
        assert refusal("olga", "initech") == ("CONFIG_SERVICE_UNAVAILABLE", 503)
        hidden = ask("olga", asked={"query": "{ instance { apiKeys } }"})
        assert "Cannot query field" in hidden["errors"][0]["message"]
    assert "sk-very-secret" not in recipe.log
