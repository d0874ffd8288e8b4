"""One page of the instances that the Config Service lists, for people who turn pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from instance_lookup.backends.base import Query
from instance_lookup.context import fresh_request_id
from instance_lookup.outcomes import NO_LIST, Failure, no_list
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from instance_lookup.resolver import InstanceResolver

PATIENCE = 2.0
"""Seconds at most that the Config Service has for a page: a person waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """A page of the list of the Config Service, or why there is none."""

    instance_ids: tuple[str, ...] = ()
    """What is no id by our settings is left out."""
    next: str | None = None
    """The cursor of the page that follows; ``None``: this is the last."""
    failure: Failure | None = None

    @property
    def has_no_list(self) -> bool:
        """Whether the Config Service has no such list, which does not mean that it is down."""
        return self.failure is not None and self.failure.reason == NO_LIST


def list_page(resolver: InstanceResolver, cursor: str | None = None) -> ListPage:
    """Return the page that starts at ``cursor`` (``None``: the first). Raises nothing.

    ``resolver`` has the Config Service, which is asked at once, whatever it answered before.
    """
    settings = resolver.settings
    query = Query(
        deadline=Deadline.after(min(settings.config_service_timeout, PATIENCE)),
        request_id=fresh_request_id(),
        user_id=settings.config_service_user_id,
    )
    try:
        page = resolver.backend.list_instances(query, cursor)
        ids = tuple(filter(resolver.selector.is_id, dict.fromkeys(page.instance_ids)))
    except Exception as exc:  # noqa: BLE001 - a backend of the project's own may raise anything
        missing = None if cursor else no_list(exc)
        return ListPage(failure=missing or Failure.of(None, exc))
    return ListPage(instance_ids=ids, next=page.next)
