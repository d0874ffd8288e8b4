"""Errors that name what the caller named, not what it led to."""

from __future__ import annotations

from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceLookupError,
    InstanceNotFound,
)
from instance_lookup.fetching.refusals import Refused
from instance_lookup.identifiers import InstanceRef, Ref, about


def build_denial(ref: Ref, by: str, *, conceal: bool) -> InstanceLookupError:
    """Return the error for a caller who may not have it; with ``conceal``: a 404.

    ``by`` is what denied it, as :func:`denied_by` has it. That it is blocked stands in the details
    only: callers need not know.
    """
    if conceal:
        return build_not_found(ref)
    message = f"You may not use {_describe(ref)}."
    if by == "block":
        return InstanceBlocked(message, **about(ref), reason="blocked")
    return AccessDenied(message, **about(ref))


def denied_by(error: AccessDenied) -> str:
    """Return what denied it: ``"service"``, ``"block"`` or ``"policy"``."""
    if isinstance(error, InstanceBlocked):
        return "block"
    return "service" if isinstance(error, Refused) else "policy"


def build_not_found(ref: Ref) -> InstanceNotFound:
    """Return the error for what does not exist."""
    described = _describe(ref)
    return InstanceNotFound(f"{described[0].upper()}{described[1:]} does not exist.", **about(ref))


def rename(ref: Ref, error: InstanceLookupError) -> InstanceLookupError:
    """Return the error as one that names what the caller named, not what it led to."""
    if not isinstance(error, ConfigServiceUnavailable):
        return build_not_found(ref)
    details = {key: value for key, value in error.details.items() if not key.endswith("_id")}
    return type(error)(
        f"The configuration of {_describe(ref)} is not available at the moment.",
        retry_after=error.retry_after,
        **details,
        **about(ref),
    )


def _describe(ref: Ref) -> str:
    return (
        f"instance {ref.instance_id!r}"
        if isinstance(ref, InstanceRef)
        else f"project {ref.project_id!r}"
    )
