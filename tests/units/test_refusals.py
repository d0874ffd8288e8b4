"""A refusal by the service is remembered for a while, for that user alone."""

from __future__ import annotations

from typing import Any

from instance_lookup import LookupUser
from instance_lookup.fetching.refusals import Refusals
from tests.support.lookups import OLGA, SAM
from tests.support.monotonic import Monotonic


def refusals() -> Refusals[Any]:
    cache: Any = None
    return Refusals(30, cache, None)


def test_of_one_user_and_id() -> None:
    """A refusal holds for this user and this id only."""
    refused = refusals()
    refused.note(OLGA, "acme")
    assert (LookupUser("olga"), "acme") in refused
    assert (OLGA, "beta") not in refused
    assert (SAM, "acme") not in refused


def test_service_is_not_the_anonymous() -> None:
    """The site itself and the anonymous user have no id, but are told apart."""
    refused = refusals()
    refused.note(LookupUser.service(), "acme")
    assert (LookupUser.anonymous(), "acme") not in refused
    assert (LookupUser.service(), "acme") in refused


def test_forgotten() -> None:
    """A refusal is forgotten after its time."""
    refused = refusals()
    clock = Monotonic(refused)
    refused.note(OLGA, "acme")
    clock.now += 29.9
    assert (OLGA, "acme") in refused
    clock.now += 0.1
    assert (OLGA, "acme") not in refused


def test_bounded() -> None:
    """Over 10,000 refusals the oldest is forgotten; a renewed one is not the oldest."""
    refused = refusals()
    others = map(str, range(9_998))
    for asked in ("a", "b", *others, "a", "c"):
        refused.note(OLGA, asked)
    assert [asked for asked in "abc" if (OLGA, asked) in refused] == ["a", "c"]
