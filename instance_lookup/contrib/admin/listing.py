"""The page with the list: which instances, and what the cache holds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from msgspec import structs

from instance_lookup.cache.peeks import blocked_among
from instance_lookup.contrib.admin.actions import ACTIONS
from instance_lookup.contrib.admin.head import head_context
from instance_lookup.contrib.admin.rows import Row
from instance_lookup.exceptions import CacheError
from instance_lookup.inspection import State, inspect_page
from instance_lookup.operations.listing import list_page
from instance_lookup.operations.reports import read_reports
from instance_lookup.operations.status import get_status
from instance_lookup.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest, QueryDict

    from instance_lookup.operations.reports import Fleet
    from instance_lookup.operations.stored import Seen
    from instance_lookup.resolver import InstanceResolver

PAGE = 100
"""Rows of a page."""

ORDERS = {
    "id": ("id", "id"),
    "-age": ("age", "oldest copy first"),
    "purged_in": ("purged_in", "purged soonest first"),
    "-seen": ("seen", "asked for last first"),
    "owner": ("owner", "owner"),
    "-size": ("size", "largest first"),
}
"""What the list can be ordered by: by name, the order of ``Fleet.find`` and the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the address of the page asks for. What is no valid choice is left out."""

    text: str = ""
    state: State | None = None
    tenant: str | None = None
    order: str = "id"
    page: int = 1
    from_service: bool = False
    """Whether the Config Service's list was chosen."""
    from_seen: bool = False
    """Whether what the site has seen was chosen."""

    @classmethod
    def of(cls, query: QueryDict) -> Self:
        """Read it from the ``query`` of the address."""
        state, order = query.get("state"), query.get("order", "id")
        source, text = query.get("from"), query.get("q", "").strip()
        tenant = query.get("tenant", "").strip() or None
        is_filtered = bool(text or state or tenant or "order" in query)
        return cls(
            text=text,
            state=State(state) if state in set(State) else None,
            tenant=tenant,
            order=order if order in ORDERS else "id",
            page=number(query.get("page")) or 1,
            from_service=source == "service",
            from_seen=source == "seen" or (source != "service" and is_filtered),
        )


def list_context(resolver: InstanceResolver, request: HttpRequest) -> dict[str, Any]:
    """Return what the list shows."""
    fleet = read_reports(resolver)
    wanted = Wanted.of(request.GET)
    show_seen = wanted.from_seen or (bool(fleet.instances) and not wanted.from_service)
    listed = _seen(resolver, fleet, wanted, request.GET) if show_seen else None
    return {
        **head_context(get_status(resolver, fleet), fleet),
        **(listed or _listed(resolver, fleet, request.GET)),
        "wanted": wanted,
        "states": [*State],
        "orders": [(name, label) for name, (_, label) in ORDERS.items()],
        "shows_seen": show_seen,
        "seen_count": None if fleet.failure is not None else len(fleet.instances),
        "actions": ACTIONS.values(),
        "back": request.GET.urlencode(),
        "is_local": is_local(resolver),
    }


def _seen(
    resolver: InstanceResolver, fleet: Fleet, wanted: Wanted, query: QueryDict
) -> dict[str, Any]:
    """Return a page of the instances that the site has asked for."""
    order, _ = ORDERS[wanted.order]
    is_block = wanted.state is State.BLOCKED
    fleet = _blocked(resolver, fleet) if is_block else fleet
    found = fleet.find(
        wanted.text,
        state=None if is_block else wanted.state,
        tenant=wanted.tenant,
        order=order,
        reverse=wanted.order.startswith("-"),
        page=wanted.page,
        per_page=PAGE,
    )
    seen = {one.id: one for one in found.instances}
    ids = [*seen]
    if _names_unseen(resolver, fleet, wanted):
        ids.insert(0, wanted.text)
    rows, cache_failure = look(resolver, ids, seen, fleet)
    return {
        "rows": rows,
        "cache_failure": cache_failure,
        "total": found.total,
        "page_number": found.number,
        "page_count": found.pages,
        "previous_query": _with(query, found.number - 1) if found.number > 1 else None,
        "next_query": _with(query, found.number + 1) if found.number < found.pages else None,
    }


def _blocked(resolver: InstanceResolver, fleet: Fleet) -> Fleet:
    """Return the reports with those instances only that are blocked now, which no report tells."""
    ids = [one.id for one in fleet.instances]
    try:
        blocked = blocked_among(resolver.cache.tiers.shared, ids)
    except CacheError as exc:
        return structs.replace(fleet, failure=Failure.of(None, exc).message, instances=())
    kept = tuple(one for one in fleet.instances if one.id in blocked)
    return structs.replace(fleet, instances=kept)


def _names_unseen(resolver: InstanceResolver, fleet: Fleet, wanted: Wanted) -> bool:
    """Tell whether an id was searched for that is not in the index: it may be cached still."""
    return (
        resolver.selector.is_id(wanted.text)
        and wanted.state is None
        and wanted.tenant is None
        and all(one.id != wanted.text for one in fleet.instances)
    )


def _listed(resolver: InstanceResolver, fleet: Fleet, query: QueryDict) -> dict[str, Any]:
    """Return a page of the Config Service's list. Its pages may be longer than ours."""
    cursor = query.get("cursor") or None
    start = number(query.get("start"))
    page = list_page(resolver, cursor)
    ids = page.instance_ids[start : start + PAGE]
    seen = {one.id: one for one in fleet.instances}
    rows, cache_failure = look(resolver, ids, seen, fleet)
    following = query.copy()
    if start + PAGE < len(page.instance_ids):
        following["start"] = str(start + PAGE)
    elif page.next is not None:
        following["cursor"] = page.next
        following.pop("start", None)
    return {
        "rows": rows,
        "list_failure": page.failure,
        "has_no_list": page.has_no_list,
        "cache_failure": cache_failure,
        "next_query": None if following == query else following.urlencode(),
        "is_first": cursor is None and not start,
    }


def look(
    resolver: InstanceResolver,
    ids: Sequence[str],
    seen: Mapping[str, Seen] | None = None,
    fleet: Fleet | None = None,
) -> tuple[list[Row], str]:
    """Return a row for each of ``ids`` by one look into the cache, and why that failed, in words.

    ``seen`` is what the reports know of them. ``fleet`` are those reports: where the cache has
    failed them already, it is not asked again.
    """
    known = seen or {}
    failure = fleet.failure if fleet else None
    if failure is None:
        try:
            found = inspect_page(resolver, ids)
        except CacheError as exc:
            failure = Failure.of(None, exc).message
        else:
            settings = resolver.settings
            return [Row.of(one, settings, known.get(one.instance_id)) for one in found], ""
    return [Row.unknown(one, known.get(one)) for one in ids], failure


def is_local(resolver: InstanceResolver) -> bool:
    """Tell whether the cache is in the memory of each process: a page sees only its own."""
    return isinstance(caches[resolver.settings.cache_alias], LocMemCache)


def number(text: str | None) -> int:
    """Return the number that is in an address; 0: there is none."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def _with(query: QueryDict, page: int) -> str:
    changed = query.copy()
    changed["page"] = str(page)
    return changed.urlencode()
