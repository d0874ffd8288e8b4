from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.testing import FakeConfigService
    from tests.integrations.recipe import Recipe, Visitor


class Domains(dict[str, str]):
    """Projects by domain; each domain has all those below it, as in a wildcard certificate."""

    def get(self, name: str, default: Any = None) -> Any:
        found = (name[at:] for at in range(len(name)) if at == 0 or name[at - 1] == ".")
        return next((self[each] for each in found if each in self), default)


@pytest.fixture(params=[False, True], ids=["wsgi", "asgi"])
def visit(
    request: pytest.FixtureRequest, build: Callable[..., Recipe], service: FakeConfigService
) -> Iterator[Visitor]:
    service.projects = Domains({"shop.acme.example": "acme", "globex.example": "globex"})
    recipe = build("custom-domains")
    recipe.seed()
    with recipe.served(asgi=request.param) as visit:
        yield visit


def test_domain_is_an_instance(visit: Visitor) -> None:
    """A host is its owner's, another's, unknown, below a known one, none, or the site's own."""

    def status(host: str, instance: str | None = None) -> tuple[int, str | None]:
        answer = visit("where/", instance, user="olga", headers={"Host": host})
        return answer.status_code, answer.json().get("instance")

    assert status("shop.acme.example") == (200, "acme")
    assert status("SHOP.ACME.EXAMPLE:8000") == (200, "acme")
    assert status("shop.acme.example.") == (200, "acme")
    assert status("eu.shop.acme.example") == (200, "acme")
    assert status("globex.example") == (403, None)
    assert status("unknown.example") == (404, None)
    assert status("a..b")[0] == 400
    assert status("[::1]")[0] == 400
    assert status("x" * 254)[0] == 400
    # On a domain of a tenant the header may say nothing else.
    assert status("shop.acme.example", "acme") == (200, "acme")
    assert status("shop.acme.example", "initech") == (400, None)
    # The site's own host names none.
    assert status("app.example.com") == (400, None)
    assert status("app.example.com", "initech") == (200, "initech")


def test_forwarded_host_is_not_believed(visit: Visitor) -> None:
    """A client that says which host was meant is not heard."""
    headers = {"Host": "globex.example", "X-Forwarded-Host": "shop.acme.example"}
    assert visit("where/", None, user="olga", headers=headers).status_code == 403
    assert visit("where/", None, headers={"Host": "shop.acme.example"}).status_code == 403
