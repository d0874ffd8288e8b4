"""``instance`` for templates: the request's instance, without its API keys."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.functional import SimpleLazyObject

from instance_lookup.request.attributes import lookup_for
from instance_lookup.request.drf import django_part, is_authenticated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ANSWER = response_for_exception.__code__
_REFUSAL = vars(CsrfViewMiddleware)["_reject"].__code__  # whichever CSRF_FAILURE_VIEW there is
_PUBLIC = ("instance_id", "metadata", "features", "rate_limits", "worker_urls", "r2_bucket")


def instance(request: Any) -> dict[str, Any]:
    """Add ``instance``. The lookup is made when a template touches it; its errors come up there.

    In an error page, after a failed lookup, and where there is no request, ``instance`` is empty
    and false instead: the base template of the site must not turn a 404 into a 500.
    """
    if not isinstance(django_part(request), HttpRequest) or _in_error_page():
        return {"instance": NO_INSTANCE}
    # To ask DRF who its user is may fail, so it is asked when the instance is, if not before.
    if is_authenticated(request) and lookup_for(request).error:
        return {"instance": NO_INSTANCE}

    def public() -> SimpleNamespace:
        config = lookup_for(request).get().config
        return SimpleNamespace(**{name: getattr(config, name) for name in _PUBLIC})

    return {"instance": SimpleLazyObject(public)}


class _NoInstance:
    """False and empty, and so is everything in it: ``{{ instance.metadata.name }}`` shows nothing.

    Not just an empty string: Django would show ``string_if_invalid`` for its missing attributes.
    """

    def __getattr__(self, name: str) -> Self:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __str__(self) -> str:
        return ""


NO_INSTANCE = _NoInstance()


def _in_error_page() -> bool:
    """Tell whether Django answers an exception, or a form without its CSRF token, with this page.

    Told by who has called us: a view may render a page while it handles an error of its own.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  # what traceback is made of
    while frame is not None:
        if frame.f_code is _ANSWER or frame.f_code is _REFUSAL:
            return True
        frame = frame.f_back
    return False
