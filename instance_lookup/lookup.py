"""The lookup of one request: made when it is first needed, and again when its user changes."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject

from instance_lookup.context import LookupContext, RequestMetadata
from instance_lookup.registry import get_resolver
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
    from instance_lookup.types import InstanceConfig, LookupResult


_NOBODY = LookupUser.anonymous()


@dataclass(slots=True, eq=False)
class Outcome:
    """What came of one lookup, and whom it was for."""

    asker: object
    """What stood on the request as its user, be it loaded or not."""
    nobody: type | None = None
    """The class of an anonymous user: another one of it gets the same answer."""
    user: LookupUser = _NOBODY
    result: LookupResult | None = None
    error: Exception | None = None


class RequestLookup:
    """What ``request.instance_config`` and its siblings share.

    Result and error are kept for the user they were made for: DRF authenticates inside the view,
    and what the session's user may have is nothing to the token's.
    """

    __slots__ = ("_metadata", "_outcome", "failed", "request", "touched", "vary_headers")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.failed = False
        """Some lookup of this request failed, so its answer must not be stored by anyone."""
        self.touched = False
        """Somebody wanted to know the instance, so the response is for this caller alone."""
        self.vary_headers: tuple[str, ...] = ()
        """The request headers that decided something so far."""
        self._outcome: Outcome | None = None
        self._metadata: RequestMetadata | None = None

    @property
    def metadata(self) -> RequestMetadata:
        """Where the request comes from; its ``request_id`` is the same for every lookup of it."""
        if self._metadata is None:
            self._metadata = RequestMetadata.from_request(self.request)
        return self._metadata

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
        with _Noting(self) as outcome:
            user = current_user(self.request)
            resolver = get_resolver()
            self._begin(outcome, resolver, user, lookup_user(user, self.request))
            outcome.result = resolver.resolve(self._context(outcome))
            return outcome.result

    async def aget(self) -> LookupResult:
        """Twin of :meth:`get`."""
        if (result := self.peek()) is not None:
            return result
        with _Noting(self) as outcome:
            user = await acurrent_user(self.request)
            resolver = get_resolver()
            self._begin(outcome, resolver, user, await alookup_user(user, self.request))
            outcome.result = await resolver.aresolve(self._context(outcome))
            return outcome.result

    async def aconfig(self) -> InstanceConfig:
        """Return the configuration: ``await request.ainstance_config()``."""
        return (await self.aget()).config

    def allows(self, policy: Allows, config: InstanceConfig) -> bool:
        """Tell whether a stricter policy allows the user of the last lookup to have ``config``."""
        user = self._outcome.user if self._outcome else _NOBODY
        return get_resolver().permits(policy, user, config)

    def _is_for(self, outcome: Outcome) -> bool:
        # The very object: of two equal users a token may narrow what one of them may have.
        if _asker(self.request) is outcome.asker:
            return True
        return outcome.nobody is not None and outcome.nobody is _nobody(peek_user(self.request))

    def note(self, outcome: Outcome) -> None:
        """Keep what came of a lookup, all at once: another may be under way for another user."""
        self.failed |= outcome.error is not None
        self._outcome = outcome

    def _begin(
        self, outcome: Outcome, resolver: InstanceResolver, user: object, lookup_user: LookupUser
    ) -> None:
        outcome.user = lookup_user
        if lookup_user.is_anonymous:
            outcome.nobody = _nobody(user)
        self.vary_headers = resolver.vary_headers

    def _context(self, outcome: Outcome) -> LookupContext:
        return LookupContext(
            user=outcome.user, request=self.request, request_metadata=self.metadata
        )


class _Noting:
    """Has a lookup keep what comes of it, also where that is an error."""

    __slots__ = ("_lookup", "_outcome")

    def __init__(self, lookup: RequestLookup) -> None:
        self._lookup = lookup
        self._outcome = Outcome(_asker(lookup.request))

    def __enter__(self) -> Outcome:
        return self._outcome

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        outcome = self._outcome
        if isinstance(error, AttributeError):
            # Python would take it for "no such attribute", and DRF would ask again and again.
            outcome.error = RuntimeError(f"The lookup failed with an AttributeError: {error}")
        elif isinstance(error, Exception):
            outcome.error = error
        self._lookup.note(outcome)
        if outcome.error is not error and outcome.error is not None:
            raise outcome.error from error


def _asker(request: HttpRequest) -> object:
    return getattr(request, "user", None)


def _nobody(user: object) -> type | None:
    """Return the class of a user who is not authenticated: DRF makes another ``AnonymousUser``."""
    return None if getattr(user, "is_authenticated", False) else user.__class__


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

    def __getattr__(self, name: str) -> Any:
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
