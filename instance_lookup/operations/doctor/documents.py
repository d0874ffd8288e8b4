"""Whether documents are what the contract asks for. All pure; no value of one is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from instance_lookup.cache.entry import OtherSpelling, Rejected, read_document
from instance_lookup.exceptions import forget_locals
from instance_lookup.operations.doctor.findings import Finding, error, ok, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.cache.kinds import Kind

CONTRACT = "docs/reference/config-service.md has the contract."
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NAMED = 5
"""How many names one line has."""


def judge_document(kind: Kind[Any], asked: str, body: bytes) -> Finding:
    """Judge the JSON ``body`` of the service, which is to be a document of ``kind`` of ``asked``.

    Named is the field that is wrong, and each part that a lookup leaves out.
    """
    try:
        accepted = read_document(kind, asked, body)
    except OtherSpelling as exc:
        do = "Answer with exactly the id that was asked for. This answer counts as a 404."
        return error("document", f"of {asked!r}: {exc}", do)
    except Rejected as exc:
        forget_locals(exc)
        return error("document", f"of {asked!r}: {exc}", f"Correct it: {CONTRACT}")
    if accepted.left_out:
        places = [each.place for each in accepted.left_out]
        seen = f"of {asked!r}: valid without what cannot be read: {shorten(places)}"
        return warning("document", seen, f"Correct it: {CONTRACT}", left_out=len(places))
    if not getattr(accepted.document.metadata, "owner", None):
        return ok("document", f"of {asked!r}: valid; it has no owner, so only admins may have it")
    return ok("document", f"of {asked!r}: valid")


def owner_of(kind: Kind[Any], asked: str, body: bytes) -> str | None:
    """Return the owner that the document of ``asked`` names; ``None`` where there is none."""
    try:
        return read_document(kind, asked, body).document.metadata.owner or None
    except Rejected:
        return None


def judge_users(bodies: Mapping[str, bytes], again: bytes) -> Finding:
    """Judge the bodies of one instance that different users got, by a word for each user.

    ``again`` is what the first of them got when they asked once more.
    """
    first, *others = bodies
    differing = [user for user in others if bodies[user] != bodies[first]]
    by_itself = _fields(bodies[first], again)
    names = {name for user in differing for name in _fields(bodies[first], bodies[user])}
    if differing and (again == bodies[first] or names - by_itself):
        return error(
            "users",
            f"{first} and {differing[0]} get different documents{_in(names - by_itself)}",
            "Answer the same to all users: one answer is shared by all users of a site, so this"
            " hands one user's document to another. Only a 403 may depend on X-User-ID.",
        )
    if again != bodies[first]:
        return warning(
            "users",
            f"two calls for one instance get different documents{_in(by_itself)}",
            "Leave out what changes by itself: no ETag can ever hold.",
        )
    return ok("users", f"{len(bodies)} users get the same document", users=len(bodies))


def shorten(names: list[str]) -> str:
    """Return some names as a text, the first few of them."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _in(names: set[str]) -> str:
    return f", in {shorten(sorted(names))}" if names else ""


def _fields(one: bytes, other: bytes) -> set[str]:
    """Return the names of the fields that differ, of those on the first level."""
    try:
        here, there = _OBJECT.decode(one), _OBJECT.decode(other)
    except (msgspec.MsgspecError, ValueError):
        return set()
    return {name for name in here | there if here.get(name) != there.get(name)}
