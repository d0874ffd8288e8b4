"""Which tenant instance a request works in, and that instance's configuration.

Here, in the root: what a project imports or names in settings. One request takes one way:

``middleware`` → ``request`` → ``resolver`` (``selection``: which instance, by ``identifiers``;
``access``: may they) → ``fetching`` → ``cache``, and past that ``backends``

``resilience`` and ``concurrency`` are what these stand on. A room imports only rooms below it.
Beside that way: ``asgi`` for sockets, ``throttling``, ``contrib`` for other packages; ``jobs`` for
work that is done later, ``push`` for changes that the service tells of, ``operations``.
A new identifier goes into ``identifiers``, a new policy into ``access``.
Each folder's own first lines say what lives there and what does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance_lookup.cache.instance_cache import InstanceCache
from instance_lookup.context import LookupContext, RequestMetadata
from instance_lookup.exceptions import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InstanceRequired,
    InvalidContext,
    LookupErrorType,
    MissBudgetSpent,
    RateLimitExceeded,
    RateLimitUnavailable,
)
from instance_lookup.registry import aresolve_instance, get_resolver, resolve_instance
from instance_lookup.resolver import InstanceResolver
from instance_lookup.types import (
    CacheEntry,
    CacheStats,
    InstanceConfig,
    InstanceMetadata,
    LookupResult,
    RateLimit,
    Source,
)
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from instance_lookup.current import acurrent_instance, current_instance, use_instance

__all__ = [
    "AccessDenied",
    "CacheEntry",
    "CacheError",
    "CacheStats",
    "ConfigServiceUnavailable",
    "InstanceCache",
    "InstanceConfig",
    "InstanceLookupError",
    "InstanceMetadata",
    "InstanceNotFound",
    "InstanceRequired",
    "InstanceResolver",
    "InvalidContext",
    "LookupContext",
    "LookupErrorType",
    "LookupResult",
    "LookupUser",
    "MissBudgetSpent",
    "RateLimit",
    "RateLimitExceeded",
    "RateLimitUnavailable",
    "RequestMetadata",
    "Source",
    "acurrent_instance",
    "aresolve_instance",
    "current_instance",
    "get_resolver",
    "resolve_instance",
    "use_instance",
]


def __getattr__(name: str) -> Any:
    """Import late what knows requests, and with them DRF, which wants settings."""
    if name in {"acurrent_instance", "current_instance", "use_instance"}:
        from instance_lookup import current  # noqa: PLC0415

        return getattr(current, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
