"""Requests and views of Django REST framework: its user decides, however late it authenticates.

DRF wraps Django's request in its own, and authenticates when a view first reads the user. Until
then Django's request holds the session's user, which the view may not accept. DRF must be installed
only for the last lines.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from instance_lookup.exceptions import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable

_ATTRIBUTES = ("instance_config", "instance_lookup", "ainstance_config", "ainstance_lookup")
"""What the middleware adds to a request."""
_ASKING = "_instance_lookup_asks"


def django_part(request: Any) -> Any:
    """Return Django's request, as it is, if ``request`` is DRF's."""
    return getattr(request, "_request", request)


def is_authenticated(request: Any) -> bool:
    """Tell whether the user of a request is decided. DRF may put that off until it is asked."""
    return django_part(request) is request or "_user" in vars(request)


def django_request(request: Any) -> Any:
    """Return Django's request. If ``request`` is DRF's, put DRF's user on it, and its ``auth``.

    DRF authenticates then, unless it has done so before. Raises what that raises.
    """
    plain = django_part(request)
    if plain is not request:
        # Each time: a view that was called by this view may have put its own user there.
        plain.user = _user(request)
        if "_auth" in vars(request):
            plain.auth = request.auth
    return plain


def _user(request: Any) -> Any:
    own = vars(request)
    if _ASKING in own:
        raise RuntimeError(
            "An authentication class of DRF asked its request for the instance, which depends on "
            "the user that it is to find. To look an instance up without a user: "
            "resolve_instance(LookupContext(LookupUser.service(), instance_id=...))."
        )
    own[_ASKING] = True
    try:
        return request.user
    finally:
        del own[_ASKING]


def is_drf_view(view: object) -> bool:
    """Tell whether this is a view of DRF, its class, or a function made of it."""
    return hasattr(getattr(view, "cls", view), "initialize_request")


def view_of(method: Any) -> Any:
    """Return the DRF view that a method, decorated or not, is bound to; ``None`` if there is none.

    ``method_decorator`` hands over a partial of the bound method.
    """
    while method is not None:
        view = getattr(getattr(method, "func", method), "__self__", None)
        if is_drf_view(view):
            return view
        method = getattr(method, "__wrapped__", None)
    return None


def check_after_permissions(view: Any, check: Callable[[Any], None]) -> None:
    """Have a DRF view call ``check`` with DRF's request, after its own permissions.

    Of ``AccessDenied`` DRF makes a 401 for those who may still log in.
    """
    initial = view.initial

    def initial_and_check(request: Any, *args: Any, **kwargs: Any) -> None:
        initial(request, *args, **kwargs)
        try:
            check(request)
        except AccessDenied as exc:
            view.permission_denied(request, message=str(exc), code="access_denied")

    view.initial = initial_and_check  # the view is made for one request


class _OfDRFsUser:
    """Reads an attribute of Django's request, which DRF would do too, once the user is DRF's.

    Has no ``__set__``: what is set on DRF's request itself goes first, as always.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, request: Any, owner: type | None = None) -> Any:
        if request is None:
            return self
        # Without the middleware there is no such attribute, and no need to authenticate.
        value = getattr(request._request, self._name)  # noqa: SLF001  # DRF documents it
        django_request(request)
        return value


if find_spec("rest_framework") is not None:
    # Django's request cannot see that DRF's request is asking, so DRF's class gets its own.
    from rest_framework.request import Request

    for _name in _ATTRIBUTES:
        setattr(Request, _name, _OfDRFsUser(_name))
