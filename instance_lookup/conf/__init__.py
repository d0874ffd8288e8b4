"""``settings.INSTANCE_LOOKUP`` as one frozen object, read late and dropped when it changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from instance_lookup.conf import validators as valid
from instance_lookup.conf.settings import HINTS
from instance_lookup.conf.settings import Settings as Settings  # others import it from here
from instance_lookup.frozen import SecretDict, hide, plain

if TYPE_CHECKING:
    from instance_lookup.conf.options import Options

NAME = "INSTANCE_LOOKUP"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: what it is, and what to type instead."""

    setting: str
    """Its name, as in ``INSTANCE_LOOKUP``."""
    message: str
    hint: str = ""
    unknown: bool = False
    """Whether there is no such setting."""


_DEFAULTS = Settings()


def find_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with ``options`` (names in lower case). Imports, but no network."""
    for name, given in options.items():
        if name not in HINTS:
            nearest = difflib.get_close_matches(str(name).lower(), HINTS, n=1, cutoff=0.4)
            hint = f"Did you mean {nearest[0].upper()!r}?" if nearest else ""
            shown = str(name).swapcase()
            yield Problem(shown, "is not a setting of instance_lookup.", hint, unknown=True)
        elif complaint := valid.complain(_freeze(given), HINTS[name]):
            yield Problem(name.upper(), complaint)
    ttl = options.get("cache_ttl", _DEFAULTS.cache_ttl)
    stale = options.get("stale_max_age", _DEFAULTS.stale_max_age)
    if not any(valid.complain(each, valid.Seconds) for each in (ttl, stale)) and stale < ttl:
        yield Problem(
            "STALE_MAX_AGE",
            f"is {stale!r}, less than CACHE_TTL ({ttl!r}): entries would be purged while fresh.",
            "STALE_MAX_AGE is the total age; make it at least CACHE_TTL.",
        )
    if complaint := valid.stream_elsewhere(options):
        yield Problem("CONFIG_SERVICE_STREAM", complaint)


def build_settings(options: Mapping[str, Any]) -> Settings:
    """Return the checked settings for ``options`` (names in lower case).

    Raises ``ImproperlyConfigured`` naming every setting that is wrong.
    """
    if problems := list(find_problems(options)):
        raise ImproperlyConfigured(
            " ".join(f"{NAME}[{p.setting!r}] {p.message} {p.hint}".strip() for p in problems)
        )
    return Settings(**{name: _kept(name, value) for name, value in options.items()})


def raw_options() -> dict[str, Any]:
    """Return ``settings.INSTANCE_LOOKUP`` as options, unchecked.

    The case is swapped rather than lowered, so that ``cache_ttl`` in the settings stays unknown.
    """
    raw = getattr(django_settings, NAME, {})
    if not isinstance(raw, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, not {type(raw).__name__}.")
    return SecretDict({str(name).swapcase(): value for name, value in raw.items()})


def raw_option(name: str) -> Any:
    """Return one option, unchecked; ``None``: it is not set, or the settings are no dict."""
    with suppress(ImproperlyConfigured):  # the checks say what is wrong
        return raw_options().get(name)
    return None


@cache
def get_settings() -> Settings:
    """Return the project's settings. Raises ``ImproperlyConfigured``."""
    return build_settings(raw_options())


def apply_options(options: Options) -> Settings:
    """Return the project's settings with ``options`` in place of some of them.

    Raises ``ImproperlyConfigured``.
    """
    return build_settings(raw_options() | {**options}) if options else get_settings()


def unshown(options: Options) -> Options:
    """Return options whose values no traceback shows, for a local variable."""
    return cast("Options", SecretDict(options)) if options else options


def build(target: Any, settings: Settings) -> Any:
    """Return the object that a setting stands for.

    ``target`` is the setting's value: an object, a class, or the dotted path of either. A class is
    built by its ``from_settings(settings)``, where it has that, else without arguments.
    """
    if isinstance(target, str):
        target = import_string(target)
    if not isinstance(target, type):
        return target
    make = getattr(target, "from_settings", None)
    return make(settings) if make else target()


def on_change(callback: Callable[[], None]) -> None:
    """Call ``callback`` whenever ``INSTANCE_LOOKUP`` or ``CACHES`` is changed by a test."""

    def receiver(*, setting: str, **kwargs: object) -> None:
        if setting in (NAME, "CACHES"):
            callback()

    # No dispatch_uid of the callback's name: `clear` of two dicts would count as one receiver.
    setting_changed.connect(receiver, weak=False)


def _kept(name: str, value: Any) -> Any:
    """Return a setting as it is kept. Keys hide themselves: they are in many hands."""
    value = _freeze(value)
    return tuple(map(hide, value)) if name in {"encryption_keys", "webhook_secrets"} else value


def _freeze(value: Any) -> Any:
    """Return lists as tuples, and paths such as ``BASE_DIR / "ca.pem"`` as strings."""
    value = fspath(value) if isinstance(value, PathLike) else plain(value)
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


on_change(get_settings.cache_clear)
