"""The ids of all instances, as the Config Service lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.backends.base import ConfigServiceBackend, Query, describe
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import ConfigServiceUnavailable
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.conf import Settings


def list_ids(backend: ConfigServiceBackend, settings: Settings) -> Iterator[str]:
    """Yield the ids of the list of ``backend``, page by page.

    Raise ``ConfigServiceUnavailable``, or ``NotImplementedError`` where there is no list.
    """
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        query = Query(
            deadline=Deadline.after(settings.config_service_timeout),
            request_id=fresh_request_id(),
            user_id=settings.config_service_user_id,
        )
        page = backend.list_instances(query, cursor)
        yield from page.instance_ids
        if (cursor := page.next) is None:
            return
        if cursor in seen:
            raise ConfigServiceUnavailable(
                f"{describe(backend)} lists its instances in a circle: the cursor of a page"
                " came twice. Correct its list: docs/reference/config-service.md has the rules.",
                reason="rejected",
            )
        seen.add(cursor)
