"""What a lookup would get of one id, an instance's or a project's: layer by layer."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.blocks import blocked, moment
from instance_lookup.cache.entry import Entry, Freshness
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceLookupError,
    InstanceNotFound,
    MissBudgetSpent,
)
from instance_lookup.fetching.glance import Glance, glance
from instance_lookup.fetching.refusals import Refused
from instance_lookup.operations.calls import build_query, call, describe_call
from instance_lookup.operations.explanation import Explanation, Layer
from instance_lookup.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.loader import Loader
    from instance_lookup.resolver import InstanceResolver

D = TypeVar("D", bound=Struct)


class Outlook(Struct, Generic[D], frozen=True):
    """What a lookup would get of one id."""

    document: D | None = None
    source: Source | None = None
    error: InstanceLookupError | None = None
    is_certain: bool = True
    """False: the Config Service decides; the document is the copy for when it fails, if any."""


def look(
    resolver: InstanceResolver,
    loader: Loader[D],
    asked: str,
    context: LookupContext,
    told: Explanation,
    *,
    ask: bool,
    is_theirs: Callable[[D], bool] | None = None,
) -> Outlook[D]:
    """Return what a lookup would get of the id ``asked``, and tell of each layer in ``told``.

    ``loader`` is the one of ``resolver`` for ids of this kind, ``context`` says who asks. With
    ``ask`` the Config Service is asked unless cache or budget forbid it, even where it is left
    alone after failures; nothing of its answer is stored. ``is_theirs`` is used where denials are
    concealed: what is not theirs is looked up as if nothing were known of it.
    """
    seen = glance(loader, asked, context)
    entry = seen.entry
    is_guess = is_theirs is not None and not (
        entry and entry.document is not None and not seen.is_refused and is_theirs(entry.document)
    )
    if is_guess:
        seen = glance(loader, asked, context, guesses=True)
    of = f"{seen.kind.name} {asked!r}"
    told.layers += _layers(of, seen, resolver.settings.stale_max_age)
    query = build_query(resolver, seen.asker, seen.entry)
    told.calls.append(describe_call(resolver.backend, seen.kind.name, asked, query))
    copy = None if is_guess else _copy(seen, resolver)
    known = _guessed(seen, of) if is_guess else _answered(seen, asked, of)
    if known is None and not ask:
        known = _left_alone(seen, copy)
    if known is not None:
        told.layers.append(_service(of, seen, state="not asked", note=_why_not(known)))
        return known
    if not ask:
        told.layers.append(_service(of, seen, state="not asked", note="a lookup would ask it"))
        return Outlook(copy, Source.STALE_CACHE if copy else None, is_certain=False)
    heard = call(resolver.backend, seen.kind, asked, query, seen.entry)
    told.layers.append(_service(of, seen, state="asked", note=heard.said, took=heard.seconds))
    if seen.blocked_until and heard.document is not None:
        return Outlook(error=blocked(asked, seen.blocked_until))
    if heard.document is not None:
        return Outlook(heard.document, Source.SERVICE)
    if copy is not None and isinstance(heard.error, ConfigServiceUnavailable):
        return Outlook(copy, Source.STALE_CACHE)
    return Outlook(error=heard.error)


def _answered(seen: Glance[D], asked: str, of: str) -> Outlook[D] | None:
    """Return what a lookup gets whatever the Config Service would say; ``None``: it matters."""
    entry = seen.entry
    if seen.is_refused:
        return Outlook(error=Refused("The Config Service refused this user a moment ago."))
    if entry is not None and entry.freshness is Freshness.FRESH:
        if entry.document is None:
            return Outlook(error=InstanceNotFound(f"{of} does not exist."))
        return Outlook(entry.document, Source.CACHE)
    if seen.blocked_until:
        return Outlook(error=blocked(asked, seen.blocked_until))
    return _overspent(seen)


def _guessed(seen: Glance[D], of: str) -> Outlook[D] | None:
    """Return what a lookup of something concealed gets without a call; ``None``: it asks."""
    if (spent := _overspent(seen)) is not None:
        return spent
    if seen.is_refused:
        return Outlook(error=Refused("The Config Service refused this user a moment ago."))
    entry = seen.entry
    if seen.is_told and (seen.blocked_until or (entry is not None and not entry.expired)):
        return Outlook(error=InstanceNotFound(f"{of} is nothing of this user's."))
    return None


def _overspent(seen: Glance[D]) -> Outlook[D] | None:
    if not seen.budget_wait:
        return None
    return Outlook(error=MissBudgetSpent("", retry_after=seen.budget_wait, reason="miss_budget"))


def _left_alone(seen: Glance[D], copy: D | None) -> Outlook[D] | None:
    """Return what a lookup gets while the Config Service is left alone; ``None``: it is not."""
    if copy is not None:
        return Outlook(copy, Source.STALE_CACHE) if seen.rests else None
    wait, reason = seen.service_left_alone, "circuit_open"
    if not wait:
        wait, reason = seen.id_left_alone, "backing_off"
    error = ConfigServiceUnavailable("", retry_after=wait, reason=reason)
    return Outlook(error=error) if wait else None


def _copy(seen: Glance[D], resolver: InstanceResolver) -> D | None:
    """Return what is served where the Config Service fails."""
    entry = seen.entry
    return entry.document if entry is not None and resolver.settings.use_stale_on_error else None


def _why_not(outlook: Outlook[Any]) -> str:
    """Return why the Config Service is not asked."""
    why = "the cache answers"
    match outlook:
        case Outlook(error=Refused()):
            why = "it refused this user a moment ago"
        case Outlook(error=InstanceBlocked()):
            why = "the instance is blocked"
        case Outlook(error=MissBudgetSpent(retry_after=wait)):
            why = f"the user asked for too many unknown ids (MISS_BUDGET); again in {wait:.0f} s"
        case Outlook(error=ConfigServiceUnavailable(retry_after=wait)):
            why = f"it is left alone after failures; again in {wait:.0f} s"
        case Outlook(source=Source.STALE_CACHE):
            why = "it failed lately, and there is a copy"
    return why


def _layers(of: str, seen: Glance[Any], stale_max_age: float) -> list[Layer]:
    note = "" if seen.near else "in this process"
    near = _held(of, "near", seen.near, stale_max_age, seen.near_took, note=note)
    if seen.is_near_off:
        near = Layer(of=of, name="near", state="off")
    if seen.flight is None:
        flight = Layer(of=of, name="flight", state="none", note="in this process")
    else:
        flight = Layer(of=of, name="flight", state="under way", age=seen.flight)
    return [near, _shared(of, seen, stale_max_age), flight]


def _shared(of: str, seen: Glance[Any], stale_max_age: float) -> Layer:
    took, peek = seen.shared_took, seen.shared
    kept = "" if seen.kept is None else "; this process keeps an answer of a moment ago"
    if seen.blocked_until:
        note = f"until {moment(seen.blocked_until)}"
        state = "blocked" if peek else "down"
        return Layer(of=of, name="shared", state=state, took=took, note=note)
    if peek is None:
        paused = f"it failed, and is not asked for {seen.cache_left_alone:.0f} s"
        note = str(seen.cache_error) if seen.cache_error else paused
        return Layer(of=of, name="shared", state="down", took=took, note=note + kept)
    if peek.unreadable:
        note = "damaged, of another format, or encrypted with another key"
        return Layer(of=of, name="shared", state="unreadable", took=took, note=note + kept)
    note = ""
    if peek.entry is None and peek.stored is not None:
        note = "what is stored was invalidated, or is too old"
    elif peek.entry is not None and peek.entry.expired:
        note = "expired by hand"
    return _held(of, "shared", peek.entry, stale_max_age, took, note=note + kept)


def _held(
    of: str,
    name: str,
    entry: Entry[Any] | None,
    stale_max_age: float,
    took: float,
    *,
    note: str = "",
) -> Layer:
    if entry is None:
        return Layer(of=of, name=name, state="absent", took=took, note=note)
    age = time() - entry.cached_at
    is_missing, is_fresh = entry.document is None, entry.freshness is Freshness.FRESH
    if is_missing and not is_fresh:  # that it does not exist is never served stale
        return Layer(of=of, name=name, state="absent", took=took, note=note)
    return Layer(
        of=of,
        name=name,
        state="negative" if is_missing else entry.freshness.value,
        age=age,
        ttl_left=entry.ttl_remaining(time()),
        purged_in=None if is_missing else max(0.0, stale_max_age - age),
        took=took,
        note=note,
    )


def _service(
    of: str, seen: Glance[Any], *, state: str, note: str, took: float | None = None
) -> Layer:
    failing = f"; failing here: {', '.join(seen.failing)}" if seen.failing else ""
    return Layer(of=of, name="service", state=state, took=took, note=note + failing)
