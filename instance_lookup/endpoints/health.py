"""The health endpoint, for load balancers and monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from instance_lookup.endpoints.exempt import for_programs
from instance_lookup.operations.condition import State
from instance_lookup.operations.status import get_status
from instance_lookup.request.problems import preferred_type

if TYPE_CHECKING:
    from django.http import HttpRequest

    from instance_lookup.operations.status import Status


# A coroutine, which awaits nothing: under ASGI a function would wait for the one thread of all
# views that are functions, and these wait while the Config Service hangs.
@for_programs
@require_safe
async def health(request: HttpRequest) -> HttpResponse:
    """Answer how this process is doing: 503 where it is unhealthy, else 200. No I/O.

    JSON, or text where the client prefers ``text/plain``. There are neither ids nor secrets in it.
    """
    status = get_status()
    code = 503 if status.state is State.UNHEALTHY else 200
    response: HttpResponse
    if preferred_type(request, ["application/json", "text/plain"]) == "text/plain":
        response = HttpResponse(as_text(status), content_type="text/plain; charset=utf-8")
    else:
        response = JsonResponse(status.as_dict(public=True))
    response.status_code = code
    response.headers["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept"])
    return response


def as_text(status: Status) -> str:
    """Return the state, and what is wrong, one a line."""
    return "".join(f"{line}\n" for line in (status.state, *status.why))
