"""``request.instance_config``, for every view."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps

from instance_lookup.exceptions import InstanceLookupError, forget_request
from instance_lookup.request import current
from instance_lookup.request.attributes import attach, lookup_for
from instance_lookup.request.problems import error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from instance_lookup.request.response import ResponseState


logger = logging.getLogger("instance_lookup")


class InstanceConfigMiddleware:
    """Attaches the lookup to the request and answers for its errors. It does no I/O of its own.

    Goes after ``AuthenticationMiddleware``. Not a ``MiddlewareMixin``: under ASGI that would cost
    every request a change of threads.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if not apps.is_installed(
            "instance_lookup"
        ):  # no system check: ours are not registered then
            logger.warning(
                "'instance_lookup' is not in INSTALLED_APPS: request.instance_config works, but"
                " commands, template tags and system checks are missing. Add it to INSTALLED_APPS."
            )
        if self._is_async:
            markcoroutinefunction(self)
            # As a coroutine, or Django would run it in another thread.
            vars(self)["process_template_response"] = self._aprocess_template_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Attach the lookup, and call the next middleware or view."""
        known = request.__dict__.get("_instance_lookup")
        # Known already: of a middleware outside of this one, or of what the request is a copy of.
        state = (attach(request) if known is None else lookup_for(request)).state
        if self._is_async:
            return self._acall(request, state)
        outer = current.note(request)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            current.leave(outer)
        state.leave(response)
        return response

    async def _acall(self, request: HttpRequest, state: ResponseState) -> HttpResponseBase:
        outer = current.note(request)
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            current.leave(outer)
        state.leave(response)
        return response

    def process_template_response(self, request: HttpRequest, response: Any) -> Any:
        """Set the headers before it is rendered: then ``@cache_page`` stores a DRF view's page."""
        lookup_for(request).state.finish(response)
        return response

    async def _aprocess_template_response(self, request: HttpRequest, response: Any) -> Any:
        lookup_for(request).state.finish(response)
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer 400, 403, 404 and 503. Have reports of other errors show no key."""
        if isinstance(exception, InstanceLookupError):
            return error_response(request, exception)
        forget_request(exception)  # a view's call of a worker
        return None
