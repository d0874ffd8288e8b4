"""The settings as keyword arguments of functions, for editors and type checkers."""

from __future__ import annotations

from os import PathLike
from typing import Any, TypedDict

Path = str | PathLike[str]


class Options(TypedDict, total=False):
    """The settings as keyword arguments, as callers may give them: lists and paths, too."""

    config_service_backend: Any
    config_service_url: Path
    config_service_timeout: float
    config_service_token: str | None
    config_service_user_id: str | None
    config_service_max_bytes: int
    config_service_ca_bundle: Path | None
    config_service_client_cert: Path | list[Path] | tuple[Path, Path] | None
    config_service_proxy: str | None
    config_service_stream: str | None
    retry_interval: float
    breaker_failures: int
    breaker_reset: float
    soft_timeout: float
    refresh_ahead: float | None
    cache_alias: str
    cache_ttl: float
    stale_max_age: float
    use_stale_on_error: bool
    miss_budget: int | None
    negative_ttl: float
    near_cache_ttl: float
    near_cache_size: int | None
    near_cache_bytes: int
    encryption_keys: list[str] | tuple[str, ...]
    compress_above: int | None
    identifiers: list[Any] | tuple[Any, ...]
    instance_header: str
    project_header: str
    instance_id_pattern: str
    user_context: Any
    admin_roles: list[str] | tuple[str, ...]
    admin_groups: list[str] | tuple[str, ...]
    access_policy: Any
    allow_anonymous: bool
    conceal_denied: bool
    config_class: Any
    webhook_secrets: list[str] | tuple[str, ...]
    report_status: bool
    server_timing: bool | None
    throttle_fail_open: bool
