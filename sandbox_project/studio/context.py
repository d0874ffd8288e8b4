"""What every page may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from django.http import HttpRequest

PLACES: Final = (
    ("/instances/studio-a/", "studio-a", "owner's"),
    ("/instances/studio-b/", "studio-b", "neighbour's"),
    ("/instances/no-owner/", "no-owner", "admins only"),
    ("/projects/film-42/", "film-42", "a project in studio-a"),
    ("/instances/nowhere/", "nowhere", "unknown: 404"),
    ("/instances/not an id/", "not an id", "malformed: 400"),
)
"""Address, name and remark of what there is to try."""


def places(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001  # what Django calls it with
    """Give templates the links of the picker."""
    return {"places": PLACES}
