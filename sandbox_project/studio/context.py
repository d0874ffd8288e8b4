"""What every page may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

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

NAIVE: Final = ("/naive/studio-b/", "naive", "by hand: open to all once cached")


def places(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001  # what Django calls it with
    """Give templates the links of the picker, and the way to the Config Service."""
    return {
        "places": (*PLACES, NAIVE) if getattr(settings, "STUDIO_NAIVE", False) else PLACES,
        "service_url": settings.INSTANCE_LOOKUP["CONFIG_SERVICE_URL"],
    }
