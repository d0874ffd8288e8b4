from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.testing import FakeConfigService
    from tests.integrations.recipe import Recipe

KEYS = """
from datetime import timedelta
from django.utils import timezone
from rest_framework_api_key.models import APIKey
old = {"expiry_date": timezone.now() - timedelta(days=1)}
for name, fields in {"robot": {}, "other": {}, "old": old, "revoked": {"revoked": True}}.items():
    made[name] = APIKey.objects.create_key(name=name, **fields)[1]
"""


def test_keys(build: Callable[..., Recipe], service: FakeConfigService) -> None:
    """A key has the instances whose owner it is; one that is not valid is told so."""
    recipe = build("api-keys")
    recipe.seed(KEYS)
    keys = recipe.made
    owner = f"key-{keys['robot'].partition('.')[0]}"
    service.instances["robots"] = {"metadata": {"owner": owner}}
    with recipe.served() as visit:

        def status(key: str | None, instance: str | None = "robots", **headers: str) -> int:
            headers |= {"Authorization": f"Api-Key {key}"} if key else {}
            answer = visit("api/where/", instance, headers=headers)
            assert key is None or key not in answer.text
            return answer.status_code

        assert status(keys["robot"]) == 200
        assert service.requests[-1].headers["X-User-ID"] == owner
        assert status(keys["other"]) == 403
        assert status(keys["robot"], "acme") == 403
        assert status(keys["robot"], None) == 400
        for wrong in (keys["old"], keys["revoked"], keys["robot"] + "x", "x", None):
            assert status(wrong) == 401
        # A person's session is no key.
        assert status(None, "acme", Cookie=f"sessionid={recipe.sessions['olga']}") == 401
    assert not any(key in recipe.log for key in keys.values())
