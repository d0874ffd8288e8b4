"""A panel for django-debug-toolbar: why the request's user gets what they get.

Name ``"instance_lookup.contrib.debug_toolbar.InstanceLookupPanel"`` in ``DEBUG_TOOLBAR_PANELS``.
Needs the extra ``debug-toolbar``. The Config Service is not asked, and nothing is changed.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from debug_toolbar.panels import Panel
from django.utils.html import format_html

from instance_lookup.context import peek_user
from instance_lookup.management.explained import lines
from instance_lookup.operations.callers import names_of
from instance_lookup.operations.explain import explain
from instance_lookup.registry import get_resolver

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class InstanceLookupPanel(Panel):
    """What the lookups of this request took, and the explanation of the last one, as it is now."""

    title = nav_title = "Instance lookup"
    is_async = True
    _stats: dict[str, Any] | None = None

    def process_request(self, request: HttpRequest) -> Any:
        """Explain when the view has answered; an async one where its event loop is not blocked."""
        response = super().process_request(request)
        if isawaitable(response):
            return self._aprocess(request, response)
        self._stats = _explained(request)
        return response

    async def _aprocess(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        answered: HttpResponseBase = await response
        self._stats = await sync_to_async(_explained)(request)
        return answered

    def generate_stats(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Hand over what was found out."""
        self.record_stats(self._stats or {})

    @property
    def nav_subtitle(self) -> str:
        """How the last lookup would end now."""
        subtitle: str = self.get_stats().get("subtitle", "")
        return subtitle

    @property
    def content(self) -> str:
        """The explanation, as the command shows it."""
        return format_html("<pre>{}</pre>", "\n".join(self.get_stats().get("lines", ())))


def _explained(request: HttpRequest) -> dict[str, Any]:
    """Return what the panel shows, in what a store of the toolbar can keep."""
    lookup = request.__dict__.get("_instance_lookup")
    context = None if lookup is None else lookup.context
    if lookup is None or context is None:
        return {"subtitle": "none", "lines": ["This request has looked no instance up."]}
    user = peek_user(request)
    told = explain(get_resolver(), context, names=tuple(names_of(user)))
    took = [
        f"Looked up in {seconds * 1000:.2f} ms: {ended}" for seconds, ended in lookup.state.timings
    ]
    ending = told.ending
    subtitle = f"{ending.status or 'unknown'} {ending.error or ending.source or ''}".strip()
    return {"subtitle": subtitle, "lines": [*took, *lines(told)], "told": told.as_dict()}
