"""What views for programs are exempt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.views.decorators.csrf import csrf_exempt

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django.http import HttpRequest, HttpResponse

    View = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


def for_programs(view: View) -> View:
    """Have a site ask no log-in of those who call a view, and no CSRF token: they have no session.

    There is no transaction around it either: Django refuses a coroutine with ``ATOMIC_REQUESTS``.
    """
    view = login_not_required(csrf_exempt(view))
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view
