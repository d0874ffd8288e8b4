"""Options are the settings in lower case, for people and for mypy alike."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from instance_lookup import InstanceResolver, aresolve_instance, get_resolver, resolve_instance
from instance_lookup.conf import Settings, apply_options
from instance_lookup.conf.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup import LookupContext

HINTS, ACCEPTED = get_type_hints(Settings), get_type_hints(Options)
PATHS = ("config_service_url", "config_service_ca_bundle", "config_service_client_cert")


def accepted(name: str) -> Any:
    """Return as what a setting may be given: lists for tuples, and paths for their strings."""
    hint = HINTS[name]
    path: Any = str | PathLike[str] if name in PATHS else str
    forms: dict[Any, Any] = {
        str: path,
        str | None: path | None,
        tuple[str, ...]: list[str] | tuple[str, ...],
        tuple[Any, ...]: list[Any] | tuple[Any, ...],
        str | tuple[str, str] | None: path | list[path] | tuple[path, path] | None,
    }
    return forms.get(hint, hint)


def test_options_are_the_settings() -> None:
    """Every setting is an option, in the order of the settings; none is required."""
    assert tuple(ACCEPTED) == Settings.__struct_fields__
    assert not Options.__required_keys__


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_option_has_the_type_of_its_setting(name: str) -> None:
    """Each option has the type that its setting accepts."""
    assert ACCEPTED[name] == accepted(name)


@pytest.mark.parametrize(
    "function",
    [InstanceResolver.__init__, get_resolver, resolve_instance, aresolve_instance],
)
def test_options_are_keyword_arguments(function: Callable[..., Any]) -> None:
    """Each function with options declares them for editors and type checkers."""
    assert function.__annotations__["options"] == "Unpack[Options]"


def types_only(context: LookupContext) -> None:
    """Is never run: mypy fails where an error that is expected here is missing."""
    InstanceResolver(cache_ttl=7, admin_roles=["admin"], near_cache_size=None)
    InstanceResolver(cache_tll=7)  # type: ignore[call-arg]
    InstanceResolver(cache_ttl="7")  # type: ignore[arg-type]
    InstanceResolver(admin_roles="admin")  # type: ignore[arg-type]
    get_resolver(cache_ttl=7)
    get_resolver(CACHE_TTL=7)  # type: ignore[call-arg]
    get_resolver(use_stale_on_error=None)  # type: ignore[arg-type]
    resolve_instance(context, soft_timeout=0.2)
    resolve_instance(context, soft_timeout=None)  # type: ignore[arg-type]
    aresolve_instance(context, soft_timeout="0.2")  # type: ignore[arg-type, unused-coroutine]
    apply_options({"cache_ttl": 7})
    apply_options({"cache_tll": 7})  # type: ignore[typeddict-unknown-key]
    apply_options({"cache_ttl": "7"})  # type: ignore[typeddict-item]
