"""The throttle class for Django REST framework (extra ``drf``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.throttling import BaseThrottle

from instance_lookup.exceptions import AccessDenied, RateLimitExceeded
from instance_lookup.request.attributes import lookup_for
from instance_lookup.throttling.calls import check_name, count_call

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

_REFUSED = "_instance_throttle_refused"


class InstanceRateThrottle(BaseThrottle):
    """Keeps to ``rate_limits`` of the request's instance, whichever of its users calls.

    Which limit: ``scope`` of a subclass, else ``throttle_scope`` of the view, as
    ``ScopedRateThrottle`` has it. A view that names none has none, nor has an instance whose
    configuration has no such limit.
    """

    scope: str | None = None
    """What the configuration calls the limit."""

    def __init__(self) -> None:
        self._wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the call, and tell whether it is let through.

        Raises what the lookup of the instance raises, ``RateLimitUnavailable`` where the call
        cannot be counted and ``THROTTLE_FAIL_OPEN`` is off, and ``ValueError`` for a scope that no
        header can say.
        """
        name = self.scope or getattr(view, "throttle_scope", None)
        # DRF asks all throttles of a view: a call that one of them has refused takes nothing more.
        if name is None or _REFUSED in vars(request):
            return True
        try:
            count_call(check_name(name), request)
        except AccessDenied as exc:
            # DRF makes a 401 of it for those who may still log in.
            view.permission_denied(request, message=str(exc), code="access_denied")
        except RateLimitExceeded as exc:
            self._wait = vars(request)[_REFUSED] = exc.retry_after
            lookup_for(request).state.exceeded = exc
        state = lookup_for(request).state
        if state.limits:
            view.headers.update(state.limit_headers)  # where the middleware does not run
        return self._wait is None

    def wait(self) -> float | None:
        """Return the seconds after which the call would be let through; ``None``: it was."""
        return self._wait
