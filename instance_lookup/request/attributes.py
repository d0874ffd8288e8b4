"""What a request gets: ``instance_config``, ``instance_lookup``, and their async twins."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.utils.functional import SimpleLazyObject

from instance_lookup.request.drf import django_request
from instance_lookup.request.lookup import RequestLookup
from instance_lookup.request.response import ResponseState
from instance_lookup.request.typed import InstanceRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from instance_lookup.types import InstanceConfig, LookupResult


class LazyLookup(SimpleLazyObject):  # type: ignore[type-arg]  # generic in the stubs only
    """Stands for a value that is looked up each time it is used, for the user at that time.

    ``lookup`` is that of the request, ``pick`` takes the value from its result, ``name`` is the
    request's attribute, for ``repr``. Not a bare ``SimpleLazyObject``: that would keep the first
    user's answer.
    """

    def __init__(
        self, lookup: RequestLookup, pick: Callable[[LookupResult], Any], name: str
    ) -> None:
        # Past LazyObject's own: its __setattr__ would evaluate it, its __getattribute__ is slow.
        object.__setattr__(self, "__dict__", {"_get": lookup.get, "_pick": pick, "_name": name})

    @property
    def _wrapped(self) -> Any:
        own = object.__getattribute__(self, "__dict__")  # past LazyObject's own, which is slow
        return own["_pick"](own["_get"]())

    def __getattribute__(self, name: str) -> Any:
        if name[0] == "_":
            return super().__getattribute__(name)
        own = object.__getattribute__(self, "__dict__")  # and which asks for _wrapped twice
        return getattr(own["_pick"](own["_get"]()), name)

    def __repr__(self) -> str:
        """Do no I/O: this is what a debugger or an error page calls."""
        return f"<{type(self).__name__} of request.{self.__dict__['_name']}>"


class _LazyAttribute:
    """Gives each request the lookup of its own: a copy takes along what is in ``__dict__``."""

    def __init__(self, pick: Callable[[LookupResult], Any]) -> None:
        self._pick = pick

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Any, owner: type) -> Any:
        lookup = request.__dict__.get("_instance_lookup")
        if lookup is None or lookup.request is not request:
            lookup = lookup_for(request)
        if (lazy := lookup.given.get(self._name)) is None:
            lazy = lookup.given[self._name] = LazyLookup(lookup, self._pick, self._name)
        return lazy


def _result(result: LookupResult) -> LookupResult:
    return result


class _PageCacheFlag:
    """Keeps a page of a tenant out of Django's page cache, which asks the request for this flag.

    It would store the page under a key without the headers that decide, and show it to others
    without asking whether they may. Its decorator sets the flag before a view runs.
    """

    def __get__(self, request: Any, owner: type) -> bool:
        fields = request.__dict__
        if lookup_for(request).state.is_touched:
            return False
        if _FLAG in fields:
            return bool(fields[_FLAG])
        raise AttributeError(_FLAG)

    def __set__(self, request: Any, value: object) -> None:
        request.__dict__[_FLAG] = value


_FLAG = "_cache_update_cache"


class _InstanceAttributes(InstanceRequest):
    """The attributes of a request. Set on its class: only descriptors there learn their request."""

    _cache_update_cache = _PageCacheFlag()

    instance_config = _LazyAttribute(attrgetter("config"))
    instance_lookup = _LazyAttribute(_result)

    async def ainstance_config(self) -> InstanceConfig:
        """Return the configuration, without blocking the event loop."""
        return (await lookup_for(self).aget()).config

    async def ainstance_lookup(self) -> LookupResult:
        """Return the whole answer, without blocking the event loop."""
        return await lookup_for(self).aget()


@cache
def _with_attributes(kind: Any) -> Any:
    """Return the class of requests like these, with the attributes; it shows itself as ``kind``."""
    shown = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (_InstanceAttributes, kind), shown)


def lookup_for(request: Any) -> RequestLookup:
    """Return the lookup of a request, Django's or DRF's; attach one if it has none.

    Through DRF's request, DRF's user decides: it is authenticated now.
    """
    plain = django_request(request)
    attached: RequestLookup | None = plain.__dict__.get("_instance_lookup")
    if attached is not None and attached.request is plain:
        return attached
    # A copied request brings the lookup of the original along.
    return attach(plain, attached)


def attach(request: HttpRequest, original: RequestLookup | None = None) -> RequestLookup:
    """Give a request its ``instance_config``, ``instance_lookup`` and their twins. Does no I/O.

    ``original`` is the lookup of the request that this one is a copy of.
    """
    state = ResponseState(None if original is None else original.state)
    lookup = RequestLookup(request, state)
    request.__dict__["_instance_lookup"] = lookup
    if not isinstance(request, _InstanceAttributes):
        kind: Any = type(request)  # hashable, whatever the stubs say of it
        request.__class__ = _with_attributes(kind)
    return lookup
