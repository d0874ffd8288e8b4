from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.testing import FakeConfigService
    from tests.integrations.recipe import Recipe

CLIENTS = """
from datetime import timedelta
from django.utils import timezone
from oauth2_provider.models import AccessToken, Application
kind = {"client_type": Application.CLIENT_CONFIDENTIAL}
kind |= {"authorization_grant_type": Application.GRANT_CLIENT_CREDENTIALS}
for name in ("robot", "other"):
    # Its owner among people is Olga: that gives the client nothing of hers.
    Application.objects.create(client_id=name, client_secret="s-" + name, user=OLGA, **kind)
later = {"expires": timezone.now() + timedelta(hours=1), "scope": "read"}
robot = Application.objects.get(client_id="robot")
AccessToken.objects.create(user=OLGA, token="of-olga", application=robot, **later)
"""


def test_clients(build: Callable[..., Recipe], service: FakeConfigService) -> None:
    """A client has its own instances, a person's token that person's, and neither the other's."""
    service.instances["robots"] = {"metadata": {"owner": "client-robot"}}
    recipe = build("oauth2-clients")
    recipe.seed(CLIENTS)
    with recipe.served() as visit:

        def token(client: str) -> str:
            data = {"grant_type": "client_credentials", "scope": "read"}
            auth = (client, f"s-{client}")
            answer = visit("o/token/", None, method="POST", data=data, auth=auth)
            return str(answer.json()["access_token"])

        def status(token: str | None, instance: str | None, **headers: str) -> int:
            headers |= {"Authorization": f"Bearer {token}"} if token else {}
            return visit("api/where/", instance, headers=headers).status_code

        robot, other = token("robot"), token("other")
        assert status(robot, "robots") == 200
        assert service.requests[-1].headers["X-User-ID"] == "client-robot"
        assert status(robot, "acme") == 403
        assert status(robot, None) == 400
        assert status(robot, "nothing") == 404
        assert status(other, "robots") == 403
        assert status("of-olga", "acme") == 200
        assert status("of-olga", "robots") == 403
        assert status("wrong", "robots") == 401
        assert status(None, "robots") == 401
        # The session's user does not count beside the client's token.
        assert status(robot, "acme", Cookie=f"sessionid={recipe.sessions['olga']}") == 403
