"""The lookup of one request: made when first needed, and again when its user or id changes."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from msgspec import Struct

from instance_lookup.access import bind
from instance_lookup.access.verdicts import deciding_rule
from instance_lookup.concurrency.deferred import NotLoaded, call_when_loaded, in_event_loop
from instance_lookup.context import (
    LookupContext,
    acurrent_user,
    alookup_user,
    current_user,
    lookup_user,
    peek_lookup_user,
    peek_user,
)
from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.fetching.notices import log_refusal
from instance_lookup.identifiers import InstanceRef, Ref  # the latter is a Struct's field
from instance_lookup.registry import get_resolver
from instance_lookup.request.response import ResponseState
from instance_lookup.request.seen import Seen
from instance_lookup.types import LookupResult
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.access import Allows
    from instance_lookup.resolver import InstanceResolver
    from instance_lookup.types import InstanceConfig


_ANONYMOUS = LookupUser.anonymous()


class _Memo(Struct, eq=False):
    """The outcome of one lookup: for which user it was made, and for which instance."""

    user_attribute: object
    """``request.user`` before the lookup, loaded or not."""
    seen: Seen | None = None
    """What ``who`` was made from; ``None``: it changed meanwhile, so nothing is kept."""
    who: LookupUser = _ANONYMOUS
    named: Ref | str | None = None
    """What the request named, or how it failed to; ``None``: that made no difference."""
    result: LookupResult | None = None
    error: Exception | None = None

    def answer(self) -> LookupResult | None:
        """Return the result, or raise the error."""
        if self.error is not None:
            # One error object is raised many times; its traceback must not grow.
            raise self.error.with_traceback(None)
        return self.result


class RequestLookup(Struct, eq=False):
    """What ``request.instance_config`` and the other attributes share.

    Result and error are kept for the user and the instance named. Both are compared at each access,
    without I/O, because they may change: DRF authenticates inside the view, a middleware may look
    before the URL is resolved, a view may change a header.
    """

    request: HttpRequest
    state: ResponseState
    given: dict[str, object] = {}
    """What the request's attributes gave out, by their names."""
    named: Ref | str | None = None
    """What the last lookup named, or how it failed to; it may be under way."""
    # Set all at once: another lookup may be under way for another user.
    _outcome: _Memo | None = None

    @property
    def instance_id(self) -> str | None:
        """The instance that the last lookup is of, as far as is known, for the log. Does no I/O."""
        named, last = self.named, self._outcome
        if isinstance(named, InstanceRef):
            return named.instance_id
        is_known = last is not None and last.result is not None and last.named is named
        return last.result.config.instance_id if is_known else None  # type: ignore[union-attr]

    @property
    def error(self) -> Exception | None:
        """The error of the last lookup, unless something has changed since."""
        if self._outcome is None or self._outcome.error is None:
            return None
        try:
            self._recall()
        except Exception as exc:  # noqa: BLE001  # that one
            return exc
        return None

    def get(self) -> LookupResult:
        """Return the answer for the request's user. Raises as :meth:`InstanceResolver.resolve`."""
        if (result := self._recall()) is not None:
            return result
        if in_event_loop():
            raise SynchronousOnlyOperation(
                "The request's instance is not looked up yet, and a lookup here would block the "
                "event loop. First 'await request.ainstance_config()'."
            )
        resolver, request = get_resolver(), self.request
        self.state.touch(resolver.vary_headers)
        outcome, began = _Memo(getattr(request, "user", None)), _begin(resolver)
        try:
            user = current_user(request)
            # Before USER_CONTEXT is asked: what changes while it answers is noticed afterwards.
            outcome.seen = Seen.of(request, outcome.user_attribute, user, resolver.selector.reads)
            outcome.who = who = lookup_user(user, request)
            context = LookupContext(who, request=request)
            outcome.named = self.named = named = _name(resolver, context)
            ref = None if isinstance(named, str) else named  # else the resolver says what is wrong
            result = self._kept(who, named) or resolver.resolve(context, ref)
        except Exception as exc:
            self._fail(outcome, exc, began)
            raise
        if began is not None:
            self.state.time(perf_counter() - began, result.source.value)
        outcome.result = result
        self._outcome = outcome
        return result

    async def aget(self) -> LookupResult:
        """Return the answer without blocking the event loop. Raises as :meth:`get`."""
        if (result := self._recall()) is not None:
            return result
        resolver, request = get_resolver(), self.request
        self.state.touch(resolver.vary_headers)
        outcome, began = _Memo(getattr(request, "user", None)), _begin(resolver)
        try:
            user = await acurrent_user(request)
            # Before USER_CONTEXT is asked: what changes while it answers is noticed afterwards.
            outcome.seen = Seen.of(request, outcome.user_attribute, user, resolver.selector.reads)
            outcome.who = who = await alookup_user(user, request)
            context = LookupContext(who, request=request)
            named = await call_when_loaded(partial(_name, resolver, context))
            outcome.named = self.named = named
            ref = None if isinstance(named, str) else named  # else the resolver says what is wrong
            result = self._kept(who, named) or await resolver.aresolve(context, ref)
        except Exception as exc:
            self._fail(outcome, exc, began)
            raise
        if began is not None:
            self.state.time(perf_counter() - began, result.source.value)
        outcome.result = result
        self._outcome = outcome
        return result

    def allows(self, policy: Allows, config: InstanceConfig) -> bool:
        """Tell whether a stricter policy allows the user of the last lookup to have ``config``."""
        who = self._outcome.who if self._outcome else _ANONYMOUS
        return get_resolver().permits(policy, who, config)

    @property
    def context(self) -> LookupContext | None:
        """What the last lookup was asked with; ``None``: there was none."""
        last = self._outcome
        return None if last is None else LookupContext(last.who, request=self.request)

    def rule(self, policy: Allows, config: InstanceConfig) -> str:
        """Return what decided that a stricter policy allows ``config`` or not: for the log."""
        who = self._outcome.who if self._outcome else _ANONYMOUS
        return deciding_rule(bind(policy, get_resolver().settings), who, config)

    def log_refusal(self, config: InstanceConfig, why: Callable[[], str]) -> None:
        """Log that a door refused the user of the last lookup, who may have ``config`` itself."""
        who = self._outcome.who if self._outcome else _ANONYMOUS
        log_refusal(LookupContext(who, request=self.request), InstanceRef(config.instance_id), why)

    def _recall(self) -> LookupResult | None:
        """Return the answer if there is one for the user and the id of now. Does no I/O.

        Raises the error that the lookup ended with.
        """
        last = self._outcome
        if last is None or last.seen is None:
            return None
        seen, request = last.seen, self.request
        who: LookupUser | None = last.who
        if last.who.is_outdated or not seen.is_same_user(request):
            who = peek_lookup_user(request)
        elif seen.is_same_name(request):
            return last.answer()
        if who is None:
            return None
        try:
            return self._kept(who, _name(get_resolver(), LookupContext(who, request=request)))
        except NotLoaded:
            return None

    def _kept(self, who: LookupUser, named: Ref | str | None) -> LookupResult | None:
        """Return the last answer if it was for this user and this name, or raise its error."""
        last = self._outcome
        if last is None or last.named != named:
            return None
        # Of an equal user too, if nothing that a project has added to it is another.
        if last.who is not who and (last.who != who or vars(last.who) != vars(who)):
            return None
        return last.answer()

    def _fail(self, outcome: _Memo, error: Exception, began: float | None) -> None:
        self.state.fail()
        if began is not None:
            ended = error.type.lower() if isinstance(error, InstanceLookupError) else "error"
            self.state.time(perf_counter() - began, ended)
        if outcome.seen is None:  # USER_CONTEXT failed, or the user could not be loaded
            user = peek_user(self.request)
            outcome.seen = Seen.of(self.request, outcome.user_attribute, user, None)
        outcome.error = error
        self._outcome = outcome
        if isinstance(error, AttributeError):
            # Python would take it for "no such attribute", and DRF would ask again and again.
            outcome.error = RuntimeError(f"The lookup failed with an AttributeError: {error}")
            raise outcome.error from error

    def __deepcopy__(self, memo: dict[int, object]) -> RequestLookup:
        """Return this object: a copied request keeps it, and :func:`lookup_for` notices that."""
        return self


def _begin(resolver: InstanceResolver) -> float | None:
    """Return the time where the lookup is to be timed."""
    wanted = resolver.settings.server_timing
    return perf_counter() if (settings.DEBUG if wanted is None else wanted) else None


def _name(resolver: InstanceResolver, context: LookupContext) -> Ref | str | None:
    """Return what the request names now, or what is wrong with that.

    ``None`` for anonymous callers, who are refused whatever they name. Raises ``NotLoaded``.
    """
    if context.user.is_anonymous and not resolver.settings.allow_anonymous:
        return None
    try:
        return resolver.selector.select(context)
    except NotLoaded:
        raise
    except Exception as exc:  # noqa: BLE001  # raised again by the lookup, and kept as its error
        return repr(exc)
