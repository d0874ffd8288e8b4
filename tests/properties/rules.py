"""What holds for the answer to any request, through whatever door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.properties.site import NOBODY, OWNED, PROJECTS, Ask
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS = frozenset({200, 400, 403, 404, 503})


def assert_safe(ask: Ask, response: Any) -> None:
    """Check that the answer is one of those documented, and no other tenant's instance."""
    assert response.status_code in ANSWERS
    assert SECRET not in response.content.decode()
    if ask.user is NOBODY:
        assert response.status_code != 200
    if response.status_code == 200:
        served = response.content.decode().strip('"')
        assert served in OWNED[ask.user]
        assert all(value in (served, "www") for value in ask.outright)
        if ask.url.startswith("/p/") and ask.path_project is not None:
            assert PROJECTS[ask.path_project.decode()] == served


def assert_served(ask: Ask, served: str, send: Callable[[Ask], Any]) -> None:
    """Check that the owner, and nobody else, gets what is named properly and once."""
    response = send(ask)
    assert_safe(ask, response)
    is_owner = served in OWNED[ask.user]
    assert (response.status_code == 200) is is_owner
