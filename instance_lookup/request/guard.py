"""Views that run only for requests that pass a check, whose errors are answered as any lookup's."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.http.response import HttpResponseBase

from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.request.attributes import lookup_for
from instance_lookup.request.drf import check_after_permissions, django_part, view_of
from instance_lookup.request.problems import error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest


def guard(
    view: Callable[..., Any],
    check: Callable[[Any], None],
    acheck: Callable[[Any], Awaitable[None]],
) -> Callable[..., Any]:
    """Return ``view``, sync or async, with a check before it.

    ``check`` gets the request, Django's or DRF's, and raises an ``InstanceLookupError`` to keep the
    view from running; ``acheck`` is its twin, for async views. Around ``dispatch`` of a DRF view
    the check waits until DRF knows the user.
    """
    if iscoroutinefunction(view) or _is_async_dispatch(view):

        @wraps(view)
        async def awrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                await acheck(request)
            except InstanceLookupError as exc:
                return _answered(request, exc)
            return _finished(request, await view(request, *args, **kwargs))

        return awrapper

    drf_view = view_of(view)

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            # Django's request, though the view is DRF's: this is around its dispatch.
            if drf_view is not None and django_part(request) is request:
                check_after_permissions(drf_view, check)
                return _finished(request, view(request, *args, **kwargs))
            check(request)
        except InstanceLookupError as exc:
            return _answered(request, exc)
        return _finished(request, view(request, *args, **kwargs))

    return wrapper


def _is_async_dispatch(view: Any) -> bool:
    """Tell whether this is ``dispatch`` of an async view: a function that returns a coroutine.

    ``method_decorator`` hands over a partial of the bound method.
    """
    method = getattr(view, "func", view)
    owner = getattr(method, "__self__", None)
    return getattr(method, "__name__", "") == "dispatch" and getattr(owner, "view_is_async", False)


def _answered(request: HttpRequest, error: InstanceLookupError) -> HttpResponseBase:
    response = error_response(request, error)
    if response is None:
        raise error
    return _finished(request, response)


def _finished(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    # The middleware does this too, where there is one; twice does no harm.
    if isinstance(response, HttpResponseBase):  # else Django says better what is wrong
        lookup_for(request).state.finish(response)
    return response
