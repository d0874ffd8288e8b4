"""Answers OpenFeature with the flags of the current instance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from openfeature.exception import ErrorCode, ProviderFatalError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType, Reason
from openfeature.provider import AbstractProvider, Metadata

from instance_lookup.contrib.openfeature.changes import Changes
from instance_lookup.contrib.openfeature.values import ABSENT, converted
from instance_lookup.current import acurrent_lookup, current_lookup
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceRequired,
    InvalidContext,
)
from instance_lookup.registry import get_resolver
from instance_lookup.types import InstanceConfig, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagValueType

    from instance_lookup.types import LookupResult

    Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]

_REASONS = {
    Source.CACHE: Reason.CACHED,
    Source.SERVICE: Reason.STATIC,
    Source.STALE_CACHE: Reason.STALE,
}


class InstanceProvider(AbstractProvider):
    """Answers with the flags of the instance that the calling code works in.

    That is what ``current_instance`` gives: the instance of the request, the ``use_instance`` block
    or the task, for its user. The evaluation context changes neither, whatever it holds.

    Booleans are its ``features``. Strings, numbers, objects and more booleans are in one field of
    the site's ``CONFIG_CLASS``, a mapping. What goes wrong is told in the details, as OpenFeature
    wants it: ``docs/how-to/feature-flags.md`` has the reasons and error codes.
    """

    def __init__(self, *, field: str | None = None) -> None:
        """Answer with ``features``, and with what is in ``field``, which ``CONFIG_CLASS`` adds.

        Raises ``ValueError`` for a field that every configuration has: ``api_keys`` are no flags.
        """
        super().__init__()
        if field in InstanceConfig.__struct_fields__:
            raise ValueError(f"{field!r} is no field for flags: name one that CONFIG_CLASS adds.")
        self._field = field
        self._changes = Changes(self.emit_provider_configuration_changed)

    def get_metadata(self) -> Metadata:
        """Return the name of this provider."""
        return Metadata("instance_lookup")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Tell of invalidations from now on. Does no I/O.

        Raises ``ProviderFatalError`` where ``CONFIG_CLASS`` lacks the field.
        """
        config_class = get_resolver().settings.load("config_class")
        if self._field is not None and self._field not in config_class.__struct_fields__:
            raise ProviderFatalError(f"{config_class.__name__} has no field {self._field!r}.")
        self._changes.start()

    def shutdown(self) -> None:
        """Tell of invalidations no longer."""
        self._changes.stop()

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001  # OpenFeature's own signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Return a boolean of ``features``, else of the field."""
        return self._resolve(FlagType.BOOLEAN, flag_key, default_value)

    async def resolve_boolean_details_async(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Return a boolean, without blocking the event loop."""
        return await self._aresolve(FlagType.BOOLEAN, flag_key, default_value)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Return a string of the field."""
        return self._resolve(FlagType.STRING, flag_key, default_value)

    async def resolve_string_details_async(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Return a string, without blocking the event loop."""
        return await self._aresolve(FlagType.STRING, flag_key, default_value)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Return an integer of the field; ``60.0`` is one."""
        return self._resolve(FlagType.INTEGER, flag_key, default_value)

    async def resolve_integer_details_async(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Return an integer, without blocking the event loop."""
        return await self._aresolve(FlagType.INTEGER, flag_key, default_value)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Return a number of the field, as a float."""
        return self._resolve(FlagType.FLOAT, flag_key, default_value)

    async def resolve_float_details_async(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Return a number as a float, without blocking the event loop."""
        return await self._aresolve(FlagType.FLOAT, flag_key, default_value)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Object,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Object]:
        """Return a dict or list of the field: a copy, which the caller may change."""
        return self._resolve(FlagType.OBJECT, flag_key, default_value)

    async def resolve_object_details_async(
        self,
        flag_key: str,
        default_value: Object,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Object]:
        """Return a dict or list, without blocking the event loop."""
        return await self._aresolve(FlagType.OBJECT, flag_key, default_value)

    def _resolve(self, kind: FlagType, key: str, default: Any) -> FlagResolutionDetails[Any]:
        try:
            result = current_lookup()
        except (InstanceLookupError, InstanceRequired) as exc:
            return _failed(exc, default)
        return self._details(result, kind, key, default)

    async def _aresolve(self, kind: FlagType, key: str, default: Any) -> FlagResolutionDetails[Any]:
        try:
            result = await acurrent_lookup()
        except (InstanceLookupError, InstanceRequired) as exc:
            return _failed(exc, default)
        return self._details(result, kind, key, default)

    def _details(
        self, result: LookupResult, kind: FlagType, key: str, default: Any
    ) -> FlagResolutionDetails[Any]:
        self._changes.listen()
        config = result.config
        # OpenFeature's own name for what a flag is one of; its telemetry knows it.
        details = partial(FlagResolutionDetails, flag_metadata={"flagSetId": config.instance_id})
        if (found := self._find(config, key)) is ABSENT:
            complaint = f"Instance {config.instance_id!r} has no flag {key!r}."
            return details(default, ErrorCode.FLAG_NOT_FOUND, complaint, Reason.ERROR)
        if found is None:
            return details(default, reason=Reason.DEFAULT)
        if (value := converted(kind, found)) is ABSENT:
            kinds = f"a {type(found).__name__}, and was asked for as {kind.value.lower()}"
            complaint = f"Flag {key!r} of instance {config.instance_id!r} is {kinds}."
            return details(default, ErrorCode.TYPE_MISMATCH, complaint, Reason.ERROR)
        return details(value, reason=_REASONS[result.source])

    def _find(self, config: InstanceConfig, key: str) -> Any:
        """Return the value of a flag; ``None``: it has none, so the caller's default counts."""
        if key in config.features:
            return config.features[key]
        return ABSENT if self._field is None else getattr(config, self._field).get(key, ABSENT)


def _failed(error: Exception, default: Any) -> FlagResolutionDetails[Any]:
    if isinstance(error, InstanceRequired | InvalidContext):
        code = ErrorCode.INVALID_CONTEXT
    elif isinstance(error, ConfigServiceUnavailable):
        code = ErrorCode.PROVIDER_NOT_READY
    else:
        code = ErrorCode.GENERAL
    return FlagResolutionDetails(default, code, str(error), Reason.ERROR)
