"""One configuration for every lookup: ``override_instance_config``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any

import msgspec
from django.test.utils import TestContextDecorator
from msgspec.structs import replace

from instance_lookup.access import Allows, Policy
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.conf import get_settings
from instance_lookup.fetching.fetcher import Found
from instance_lookup.identifiers import Identifier, InstanceRef, Ref
from instance_lookup.registry import replace_resolver
from instance_lookup.resolution.lookups import Lookups
from instance_lookup.resolver import InstanceResolver
from instance_lookup.types import InstanceConfig, Source
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from django.http import HttpRequest

    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.context import LookupContext


class override_instance_config(TestContextDecorator):  # noqa: N801  # as override_settings
    """Have every lookup answered with one config: no header, no cache, no Config Service needed.

    ``instance_id`` is that of the config, ``fields`` are the others of ``CONFIG_CLASS``; nested
    ones may be dicts. With ``enforce_access`` the project's ``ACCESS_POLICY`` decides as usual,
    else every user is let in, logged in or not.
    A decorator for test classes and for sync and async functions, and a context manager for both.
    Raises ``TypeError`` for a field that a config does not have, and ``msgspec.ValidationError``
    for a value that it could not have.
    """

    def __init__(
        self, instance_id: str = "test", *, enforce_access: bool = False, **fields: Any
    ) -> None:
        super().__init__()
        self._fields = {"instance_id": instance_id, **fields}
        self._enforce_access = enforce_access
        self._replaced: list[AbstractContextManager[None]] = []

    def enable(self) -> InstanceConfig:
        """Answer with the config from now on; return it."""
        config = _made(get_settings().load("config_class"), self._fields)
        replaced = replace_resolver(_FixedResolver(config, enforce_access=self._enforce_access))
        replaced.__enter__()
        self._replaced.append(replaced)
        return config

    def disable(self) -> None:
        """Answer as before."""
        self._replaced.pop().__exit__(None, None, None)

    def __enter__(self) -> InstanceConfig:  # type: ignore[override]  # the stubs think of apps
        return self.enable()

    async def __aenter__(self) -> InstanceConfig:
        return self.enable()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disable()


def _made(config_class: type[InstanceConfig], fields: dict[str, Any]) -> InstanceConfig:
    """Return the config with these fields. A typo in one would make a test that tests nothing."""
    known = config_class.__struct_encode_fields__
    for name in fields:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"{config_class.__name__} has no field {name!r}{hint}")
    return msgspec.convert(fields, config_class)


class _AnyRole(frozenset[str]):
    def __contains__(self, role: object) -> bool:
        return True


@dataclass(frozen=True)
class _Always(Identifier):
    instance_id: str

    def identify(self, context: LookupContext, request: HttpRequest | None = None) -> Ref:
        return InstanceRef(self.instance_id)


@dataclass(frozen=True)
class _Everyone(Policy):
    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return True


class _FixedLookups(Lookups):
    config: InstanceConfig

    def held(self, *_args: object, **_kwargs: object) -> None:
        """Hold nothing: what the cache has is not asked for."""

    def _load(self, *_args: object) -> Steps[Found[InstanceConfig]]:
        yield from ()
        return Found(self.config, Source.SERVICE, time(), float(self._settings.cache_ttl))


class _FixedResolver(InstanceResolver):
    """Answers every lookup with one config."""

    _lookups_class = _FixedLookups
    _lookups: _FixedLookups

    def __init__(self, config: InstanceConfig, *, enforce_access: bool) -> None:
        let_in: dict[str, Any] = {"access_policy": _Everyone(), "allow_anonymous": True}
        super().__init__(
            config_service_backend=DictConfigService(),  # never asked
            identifiers=(_Always(config.instance_id),),
            **({} if enforce_access else let_in),
        )
        self._lookups.config = config
        self._enforce_access = enforce_access

    def permits(self, policy: Allows, user: LookupUser, config: InstanceConfig) -> bool:
        """Treat every user as owner, member and admin; features are still looked at."""
        if not self._enforce_access:
            metadata = replace(config.metadata, owner="test", tenant_id="test")
            user = LookupUser("test", roles=_AnyRole(), tenant_ids=("test",))
            config = replace(config, metadata=metadata)
        return super().permits(policy, user, config)
