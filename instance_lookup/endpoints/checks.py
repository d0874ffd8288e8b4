"""System checks of the webhook: its secrets, and whether deliveries can arrive."""

from __future__ import annotations

from inspect import unwrap
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004  # Django's name for it
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, get_resolver

from instance_lookup.conf import NAME, get_settings, validators
from instance_lookup.endpoints.webhook import webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from django.urls import URLResolver

SHORTEST = 24
"""Bytes, as Standard Webhooks has it."""
_MAKE = (
    "import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())"
)


def check_webhook(**kwargs: object) -> list[CheckMessage]:
    """Check ``WEBHOOK_SECRETS``, and that a URL leads to the webhook where there are some."""
    try:
        secrets = get_settings().webhook_secrets
    except ImproperlyConfigured:
        return []  # check_settings says so
    return [*_advise_secrets(secrets), *([] if not secrets or _is_routed() else [_NO_URL])]


def _advise_secrets(secrets: Iterable[str]) -> Iterator[CheckMessage]:
    for index, size in enumerate(len(validators.webhook_key(secret)) for secret in secrets):
        if size < SHORTEST:
            yield Warning(
                f"{NAME}['WEBHOOK_SECRETS'][{index}] holds {size} bytes: a secret that short can "
                f"be guessed. It should hold {SHORTEST} at least.",
                hint=f'python -c "{_MAKE}"',
                id="instance_lookup.W013",
            )


_NO_URL = Warning(
    f"{NAME}['WEBHOOK_SECRETS'] is set, but no URL leads to the webhook: changes are seen after "
    "CACHE_TTL.",
    hint='Add path("instance-lookup/", include("instance_lookup.urls")) to your urlpatterns.',
    id="instance_lookup.W014",
)


def _is_routed() -> bool:
    """Tell whether the webhook is in the URLconf, under whatever name, decorated or not.

    Where there is no URLconf at all, as for workers, nothing is missing.
    """
    if not getattr(settings, "ROOT_URLCONF", None):
        return True
    ours = unwrap(webhook)
    return any(unwrap(view) is ours for view in _views(get_resolver().url_patterns))


def _views(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Callable[..., Any]]:
    for each in patterns:
        if isinstance(each, URLPattern):
            yield each.callback
        else:
            yield from _views(each.url_patterns)
