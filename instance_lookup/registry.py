"""The resolvers of this process. Equal options share one, with its connections and statistics."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from instance_lookup.conf import Settings, apply_options, on_change, unshown
from instance_lookup.resolver import InstanceResolver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.conf.options import Options
    from instance_lookup.context import LookupContext
    from instance_lookup.types import InstanceConfig

_resolvers: dict[Settings, InstanceResolver] = {}
_overrides: list[InstanceResolver] = []


def get_resolver(**options: Unpack[Options]) -> InstanceResolver:
    """Return the process's resolver for the settings, with ``options`` in place of some of them.

    Calls with equal options get one resolver. Raises ``ImproperlyConfigured``.
    """
    if _overrides:
        return _overrides[-1]
    options = unshown(options)
    settings = apply_options(options)
    if (resolver := _resolvers.get(settings)) is None:
        # Without a lock, which a fork could leave locked: of two threads that build one at the
        # same moment, the first to store it wins, and the other one takes that.
        resolver = _resolvers.setdefault(settings, InstanceResolver(**options))
    return resolver


def resolve_instance(context: LookupContext, **options: Unpack[Options]) -> InstanceConfig:
    """Return the configuration that ``context`` may have, blocking while it is fetched.

    ``options`` replace some of the settings. Raises ``InvalidContext``, ``AccessDenied``,
    ``InstanceNotFound`` or ``ConfigServiceUnavailable``, and ``ImproperlyConfigured`` for options.
    """
    options = unshown(options)
    return get_resolver(**options).resolve(context).config


async def aresolve_instance(context: LookupContext, **options: Unpack[Options]) -> InstanceConfig:
    """Return the configuration that ``context`` may have, without blocking the event loop.

    Takes the options of :func:`resolve_instance`, and raises its errors.
    """
    options = unshown(options)
    return (await get_resolver(**options).aresolve(context)).config


def live_resolvers() -> tuple[InstanceResolver, ...]:
    """Return those that :func:`get_resolver` has returned for the settings of now."""
    return tuple(_overrides) + tuple(_resolvers.values())


@contextmanager
def replace_resolver(resolver: InstanceResolver) -> Iterator[None]:
    """Have :func:`get_resolver` return ``resolver``, in all threads: for tests."""
    _overrides.append(resolver)
    try:
        yield
    finally:
        _overrides.remove(resolver)


on_change(_resolvers.clear)
