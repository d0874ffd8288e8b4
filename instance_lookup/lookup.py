"""The lookup of one request: made when it is first needed, and again when its user changes."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject
from msgspec import Struct

from instance_lookup.context import LookupContext
from instance_lookup.registry import get_resolver
from instance_lookup.types import LookupResult
from instance_lookup.users import (
    LookupUser,
    acurrent_user,
    alookup_user,
    current_user,
    in_event_loop,
    lookup_user,
    peek_user,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from instance_lookup.access import Allows
    from instance_lookup.resolver import InstanceResolver
    from instance_lookup.types import InstanceConfig


_NOBODY = LookupUser.anonymous()


class _Outcome(Struct, eq=False):
    """What came of one lookup, and whom it was for."""

    asker: object
    """What stood on the request as its user, be it loaded or not."""
    user: object = None
    """The one that it stood for."""
    who: LookupUser = _NOBODY
    result: LookupResult | None = None
    error: Exception | None = None


class RequestLookup:
    """What ``request.instance_config`` and its siblings share.

    Result and error are kept for the user they were made for: DRF authenticates inside the view,
    and what the session's user may have is nothing to the token's.
    """

    __slots__ = ("_outcome", "failed", "request", "touched", "vary_headers")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.failed = False
        """Some lookup of this request failed, so its answer must not be stored by anyone."""
        self.touched = False
        """Somebody wanted to know the instance, so the response is for this caller alone."""
        self.vary_headers: tuple[str, ...] = ()
        """The request headers that decided something so far."""
        # Set all at once: another lookup may be under way for another user.
        self._outcome: _Outcome | None = None

    @property
    def error(self) -> Exception | None:
        """What the last lookup failed with."""
        return self._outcome.error if self._outcome else None

    def peek(self) -> LookupResult | None:
        """Return the answer if it is there for the present user. Does no I/O. Raises its error."""
        # Whoever peeks makes a page of it. Django's page cache would store that one, under a key
        # without the headers that decide, and show it to others without asking whether they may.
        vars(self.request)["_cache_update_cache"] = False
        self.touched = True
        outcome = self._outcome
        if outcome is None or not self._is_for(outcome):
            return None
        if outcome.error is not None:
            # The same error again and again: its traceback must not grow with each time.
            raise outcome.error.with_traceback(None)
        return outcome.result

    def get(self) -> LookupResult:
        """Return the answer for the request's user. Raises as :meth:`InstanceResolver.resolve`."""
        if (result := self.peek()) is not None:
            return result
        if in_event_loop():
            raise SynchronousOnlyOperation(
                "The request's instance is not looked up yet, and to do it here would block the "
                "event loop: first 'await request.ainstance_config()'."
            )
        outcome = _Outcome(getattr(self.request, "user", None))
        try:
            outcome.user = user = current_user(self.request)
            outcome.who = who = lookup_user(user, self.request)
            resolver, context = self._begin(who)
            outcome.result = result = resolver.resolve(context)
        except Exception as exc:
            self._fail(outcome, exc)
            raise
        self._outcome = outcome
        return result

    async def aget(self) -> LookupResult:
        """Twin of :meth:`get`."""
        if (result := self.peek()) is not None:
            return result
        outcome = _Outcome(getattr(self.request, "user", None))
        try:
            outcome.user = user = await acurrent_user(self.request)
            outcome.who = who = await alookup_user(user, self.request)
            resolver, context = self._begin(who)
            outcome.result = result = await resolver.aresolve(context)
        except Exception as exc:
            self._fail(outcome, exc)
            raise
        self._outcome = outcome
        return result

    async def aconfig(self) -> InstanceConfig:
        """Return the configuration: ``await request.ainstance_config()``."""
        return (await self.aget()).config

    def allows(self, policy: Allows, config: InstanceConfig) -> bool:
        """Tell whether a stricter policy allows the user of the last lookup to have ``config``."""
        who = self._outcome.who if self._outcome else _NOBODY
        return get_resolver().permits(policy, who, config)

    def _is_for(self, outcome: _Outcome) -> bool:
        # The very object: of two equal users a token may narrow what one of them may have.
        if getattr(self.request, "user", None) is outcome.asker:
            return True
        return outcome.who.is_anonymous and _alike(outcome.user, peek_user(self.request))

    def _begin(self, who: LookupUser) -> tuple[InstanceResolver, LookupContext]:
        resolver = get_resolver()
        self.vary_headers = resolver.vary_headers
        return resolver, LookupContext(who, request=self.request)

    def _fail(self, outcome: _Outcome, error: Exception) -> None:
        self.failed = True
        self._outcome = outcome
        outcome.error = error
        if isinstance(error, AttributeError):
            # Python would take it for "no such attribute", and DRF would ask again and again.
            outcome.error = RuntimeError(f"The lookup failed with an AttributeError: {error}")
            raise outcome.error from error


def _alike(*users: object) -> bool:
    """Tell whether these are nobody, each: DRF makes another ``AnonymousUser``."""
    if any(getattr(user, "is_authenticated", False) for user in users):
        return False
    return len({user.__class__ for user in users}) == 1


class LazyLookup(SimpleLazyObject):  # type: ignore[type-arg]  # generic in the stubs only
    """Stands for something that is looked up when it is touched, each time for the user of then.

    Not a bare ``SimpleLazyObject``: that would keep the first user's answer.
    """

    def __init__(
        self, lookup: RequestLookup, pick: Callable[[LookupResult], Any], name: str
    ) -> None:
        # Past LazyObject's own: its __setattr__ would evaluate it, its __getattribute__ is slow.
        object.__setattr__(self, "__dict__", {"_lookup": lookup, "_pick": pick, "_name": name})

    @property
    def _wrapped(self) -> Any:
        own = object.__getattribute__(self, "__dict__")  # past LazyObject's own, which is slow
        return own["_pick"](own["_lookup"].get())

    def __getattribute__(self, name: str) -> Any:
        if name[:1] == "_":
            return super().__getattribute__(name)
        own = object.__getattribute__(self, "__dict__")  # and which asks for _wrapped twice
        return getattr(own["_pick"](own["_lookup"].get()), name)

    def __repr__(self) -> str:
        """Do no I/O: this is what a debugger or an error page calls."""
        return f"<{type(self).__name__} of request.{self.__dict__['_name']}>"


def _result(result: LookupResult) -> LookupResult:
    return result


_config = attrgetter("config")


def lookup_for(request: Any) -> RequestLookup:
    """Return the lookup of a request, Django's or DRF's, having attached it if need be."""
    plain: Any = getattr(request, "_request", request)
    attached: RequestLookup | None = plain.__dict__.get("_instance_lookup")
    # A copied request brings the lookup of the original along, and so of its user.
    return attached if attached is not None and attached.request is plain else attach(plain)


def attach(request: Any) -> RequestLookup:
    """Give a request its ``instance_config``, ``instance_lookup`` and their twins. Does no I/O."""
    lookup = RequestLookup(request)
    request.__dict__.update(
        _instance_lookup=lookup,
        instance_config=LazyLookup(lookup, _config, "instance_config"),
        instance_lookup=LazyLookup(lookup, _result, "instance_lookup"),
        ainstance_config=lookup.aconfig,
        ainstance_lookup=lookup.aget,
    )
    return lookup
