"""Whom the service refused is remembered for a while, for him alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup import LookupUser, refusals
from instance_lookup.refusals import Refusals
from tests.lookups import OLGA, SAM

if TYPE_CHECKING:
    import pytest


def test_of_one_user_and_id() -> None:
    """A refusal is of this user and this id, nobody else and nothing else."""
    refused = Refusals(30)
    refused.add(OLGA, "acme")
    assert (LookupUser("olga"), "acme") in refused
    assert (OLGA, "beta") not in refused
    assert (SAM, "acme") not in refused


def test_service_is_not_the_anonymous() -> None:
    """The site itself has no user id either, and is somebody else."""
    refused = Refusals(30)
    refused.add(LookupUser.service(), "acme")
    assert (LookupUser.anonymous(), "acme") not in refused
    assert (LookupUser.service(), "acme") in refused


def test_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a refusal is forgotten."""
    now = 100.0
    monkeypatch.setattr(refusals, "monotonic", lambda: now)
    refused = Refusals(30)
    refused.add(OLGA, "acme")
    now += 29.9
    assert (OLGA, "acme") in refused
    now += 0.1
    assert (OLGA, "acme") not in refused


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than the limit the oldest is forgotten first; one renewed is not the oldest."""
    monkeypatch.setattr(refusals, "_LIMIT", 2)
    refused = Refusals(30)
    for asked in ("a", "b", "a", "c"):
        refused.add(OLGA, asked)
    assert [asked for asked in "abc" if (OLGA, asked) in refused] == ["a", "c"]
