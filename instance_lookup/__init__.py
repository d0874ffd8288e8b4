"""Which tenant instance a request works in, and that instance's configuration.

Here, in the root: what a project imports or names in settings. One request takes one way:

``middleware`` → ``request`` → ``resolver`` (``selection``: which instance, by ``identifiers``;
``access``: may they) → ``fetching`` → ``cache``, and past that ``backends``

``resilience`` and ``concurrency`` are what these stand on. A room imports only rooms below it.
A new identifier goes into ``identifiers``, a new policy into ``access``.
Each folder's own first lines say what lives there and what does not.
"""

from __future__ import annotations

from instance_lookup.cache.instance_cache import InstanceCache
from instance_lookup.context import LookupContext, RequestMetadata
from instance_lookup.exceptions import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
    LookupErrorType,
    MissBudgetSpent,
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
    "InstanceResolver",
    "InvalidContext",
    "LookupContext",
    "LookupErrorType",
    "LookupResult",
    "LookupUser",
    "MissBudgetSpent",
    "RateLimit",
    "RequestMetadata",
    "Source",
    "aresolve_instance",
    "get_resolver",
    "resolve_instance",
]
