"""docs/reference/checks.md: each check, as it is when the settings of an example have it said."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from django.core.checks import ERROR
from django.core.checks.registry import registry
from django.test.utils import override_settings

from instance_lookup.cache.codec import new_encryption_key
from tests.reference.site import MIDDLEWARE
from tests.reference.text import link, show, table

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

OURS = "instance_lookup."
URL = "https://config.example.com"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"
DATABASE = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "entries"}
LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
REDIS = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://redis:6379"}
MEMCACHED = {
    "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
    "LOCATION": ["one:11211", "other:11211"],
}
SHARDED = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": ["redis://one:6379", "redis://other:6379"],
    "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
}
SECRET = "whsec_c2hvcnQ="


class Check(NamedTuple):
    """A check as the page has it."""

    message: CheckMessage
    deploy: bool
    """Whether only ``check --deploy`` runs it."""


def _options(**more: object) -> dict[str, Any]:
    return {"INSTANCE_LOOKUP": {"CONFIG_SERVICE_URL": URL, **more}}


def _cached(alias: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"CACHES": {"default": alias}, **_options(**more)}


EXAMPLES: dict[str, dict[str, Any]] = {
    "E001": {"INSTANCE_LOOKUP": [("CONFIG_SERVICE_URL", URL)]},
    "E002": _options(CACHE_TL=60),
    "E003": _options(CACHE_TTL=0),
    "E004": {"INSTANCE_LOOKUP": {}},
    "E005": _options(CONFIG_SERVICE_URL="config.example.com"),
    "E006": _options(ENCRYPTION_KEYS=[new_encryption_key()]),
    "E007": _options(CACHE_ALIAS="redis"),
    "E008": {"MIDDLEWARE": [*MIDDLEWARE, USERS], **_options()},
    "E009": _options(IDENTIFIERS=["instance_lookup.identifiers.SubdomainIdentifier"]),
    "E011": {
        "INSTANCE_LOOKUP": {
            "CONFIG_SERVICE_BACKEND": "instance_lookup.backends.file.FileConfigService",
            "CONFIG_SERVICE_URL": "instances.json",
            "CONFIG_SERVICE_STREAM": "/stream",
        }
    },
    "W001": {"MIDDLEWARE": [USERS], **_options()},
    "W002": _options(CONFIG_SERVICE_URL="http://config.example.com"),
    "W003": _cached(LOCMEM),
    "W004": _cached(SHARDED),
    "W005": _cached(REDIS),
    "W007": _cached(MEMCACHED),
    "W010": _cached(DATABASE),
    "W012": _cached(LOCMEM, CONFIG_SERVICE_STREAM="/stream"),
    "W013": _options(WEBHOOK_SECRETS=[SECRET]),
    "W014": _options(WEBHOOK_SECRETS=[SECRET]),
}
"""Settings with which the check is not content."""
OF_ANY = {"E002", "E003"}
"""Checks that look at all settings; their examples have to be of some."""


@cache
def checks() -> dict[str, Check]:
    """Return all checks by their numbers."""
    return {number: _said(number) for number in EXAMPLES}


def link_to(number: str) -> str:
    """Return a link to a check for a page beside this one."""
    return f"[{number}](checks.md#{number.lower()})"


def about(setting: str) -> list[str]:
    """Return the numbers of the checks of a setting; E003 is of the value of any."""
    named = re.compile(rf"\bINSTANCE_LOOKUP\['{setting}'\]")
    found = {
        number
        for number, check in checks().items()
        if number not in OF_ANY and named.search(f"{check.message.msg} {check.message.hint}")
    }
    return sorted(found | {"E003"})


def index() -> None:
    """Show which checks there are, what they look at, and when they run."""
    rows = ([link(number), _object(number, check), _when(check)] for number, check in _all())
    show(table(["Check", "Of", "Comes with"], rows))


def entries() -> None:
    """Show each check with what it says of its example, and what to do."""
    show("\n\n".join(_entry(number, check) for number, check in _all()))


def _all() -> list[tuple[str, Check]]:
    return sorted(checks().items())


def _when(check: Check) -> str:
    return "`check --deploy`" if check.deploy else "`check`"


def _object(number: str, check: Check) -> str:
    """Return which setting the check looks at."""
    if number in OF_ANY:
        return "any setting"
    found = re.search(r"INSTANCE_LOOKUP\['(\w+)'\]|\b(CACHES|MIDDLEWARE)\b", check.message.msg)
    return f"`{found[1] or found[2]}`" if found else "`INSTANCE_LOOKUP`"


def _entry(number: str, check: Check) -> str:
    message = check.message
    level = "an error" if message.level >= ERROR else "a warning"
    # As code in a paragraph, whose lines break on a phone: messages hold brackets and underscores.
    said = f"`{message.msg}`\n\nHint: `{message.hint}`"
    return f"## {number}\n\n`{message.id}`, {level} of {_when(check)}, for example:\n\n{said}"


def _said(number: str) -> Check:
    """Return what the checks say of the example of this number."""
    with ExitStack() as stack:
        stack.enter_context(override_settings(**EXAMPLES[number]))
        if number == "E006":  # as if the extra were not installed
            stack.enter_context(patch("instance_lookup.checks.find_spec", return_value=None))
        for check in registry.get_checks(include_deployment_checks=True):
            if not check.__module__.startswith(OURS):
                continue
            for message in check(app_configs=None, databases=None):
                if message.id == f"{OURS}{number}":
                    return Check(message, deploy=check in registry.deployment_checks)
    raise AssertionError(f"the example of {number} is all right")
