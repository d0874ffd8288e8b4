"""The type of the requests that views get, for type checkers: at run time it does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

if TYPE_CHECKING:
    from instance_lookup.types import InstanceConfig, LookupResult


class InstanceRequest(HttpRequest):
    """A request with what the middleware adds, to annotate the requests of views with.

    ::

        def billing(request: InstanceRequest) -> HttpResponse:
            name = request.instance_config.metadata.name

    Requests that the middleware has seen are instances of it. None is made of this class.
    """

    instance_config: InstanceConfig
    """The configuration of the request's instance, looked up when it is first used."""
    instance_lookup: LookupResult
    """The whole answer: the configuration, where it came from, and how old it is."""

    if TYPE_CHECKING:

        async def ainstance_config(self) -> InstanceConfig:
            """Return the configuration, without blocking the event loop."""

        async def ainstance_lookup(self) -> LookupResult:
            """Return the whole answer, without blocking the event loop."""
