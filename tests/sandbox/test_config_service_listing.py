"""The reference Config Service: pages and cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.service import Api, fresh_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from config_service.process import ServiceAdmin


def all_ids(api: Api, limit: int, between: Callable[[], None] = lambda: None) -> list[str]:
    """Walk the listing; ``between`` is called after the first page."""
    page = api.ask(f"/instances?limit={limit}").json()
    ids = list(page["instances"])
    between()
    while page["next"]:
        page = api.ask(f"/instances?limit={limit}&cursor={page['next']}").json()
        ids += page["instances"]
    return ids


# --- the listing -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_listing_has_every_instance_once(api: Api, instance_id: str, limit: int) -> None:
    """The pages together have each instance once, in order, with each page size."""
    ids = all_ids(api, limit)

    assert ids == sorted(set(ids))
    assert {"no-owner", "studio-a", "studio-b", instance_id} <= set(ids)


def test_listing_is_stable_while_instances_come_and_go(
    api: Api, service_admin: ServiceAdmin
) -> None:
    """Instances that exist all the time are listed once, though others come and go."""
    first, early = "0" + fresh_id(), "00" + fresh_id()
    service_admin.set(f"instance/{first}")
    stay = set(api.ask("/instances?limit=1000").json()["instances"]) - {first}

    def change() -> None:
        service_admin.remove(first)
        service_admin.set(f"instance/{early}")

    ids = all_ids(api, 1, change)
    service_admin.remove(early)
    assert ids[0] == first
    assert sorted(stay) == ids[1:]


def test_listing_last_page_has_no_next(api: Api) -> None:
    """A full last page does not lead to an empty one."""
    count = len(all_ids(api, 1000))

    assert api.ask(f"/instances?limit={count}").json()["next"] is None


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "after:", "after:..", "studio-a", "after:a%0A", "%C3%A9"],
)
def test_listing_foreign_cursor_is_400(api: Api, cursor: str) -> None:
    """A cursor that the service did not make gets 400."""
    assert api.ask(f"/instances?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("limit", ["", "0", "-1", "1001", "2.5", "many", "%D9%A3"])
def test_listing_limit_out_of_range_is_400(api: Api, limit: str) -> None:
    """A page has 1 to 1000 ids."""
    assert api.ask(f"/instances?limit={limit}").status_code == 400


def test_cursor_leads_on_after_an_id_of_any_length(api: Api, service_admin: ServiceAdmin) -> None:
    """Encoding and decoding agree at every length."""
    names = ["0", "0a", "0ab", "0Z_9-", "0" + "x" * 63]
    for name in names:
        service_admin.set(f"instance/{name}")
    ids = all_ids(api, 1)
    for name in names:
        service_admin.remove(name)

    assert [name for name in ids if name in names] == sorted(names)
