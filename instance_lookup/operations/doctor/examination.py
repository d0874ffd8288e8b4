"""All probes in their order. What cannot be seen any more after an error is skipped, by name."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.base import describe
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InvalidContext,
    forget_locals,
)
from instance_lookup.operations.doctor import service, transport
from instance_lookup.operations.doctor.cache import cache_probes
from instance_lookup.operations.doctor.findings import Finding, Level, error, ok, skipped
from instance_lookup.operations.doctor.probing import Asker
from instance_lookup.operations.doctor.service import Service
from instance_lookup.operations.doctor.settings import Advice
from instance_lookup.operations.doctor.wire import Wire
from instance_lookup.outcomes import check_id
from instance_lookup.registry import get_resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.conf import Settings
    from instance_lookup.resolver import InstanceResolver

DEEP = (*transport.DEEP_PROBES, *service.DEEP_PROBES)
_NEED_SAMPLE = (*transport.BODY_PROBES, *service.SAMPLE_PROBES)
_OF_SERVICE = ("answer", *transport.PROBES, *transport.BODY_PROBES, *service.PROBES, *DEEP)


def examine(instance_id: str | None = None, *, deep: bool = False) -> Iterator[Finding]:
    """Yield what each probe finds, of the Config Service and the cache of this site's settings.

    ``instance_id`` is the instance to look at, the first of the service's list if it is ``None``.
    ``deep`` makes probes that cost more: whether a caller without our credential is refused, and
    whether each page of the list and each document is right. Raises nothing that the site's
    settings, service or cache are to blame for.
    """
    try:
        resolver = get_resolver()
        _ = caches[resolver.settings.cache_alias]
    except ImproperlyConfigured as exc:
        yield error("settings", str(exc), "manage.py check says more.")
        return
    except Exception as exc:  # noqa: BLE001  # of a backend or policy of the project's own
        forget_locals(exc)
        why = f"no resolver can be made of them ({type(exc).__name__})"
        yield error("settings", why, "manage.py check says more.")
        return
    secrets = _secrets_of(resolver.settings)
    for finding in _examine(resolver, instance_id, deep=deep):
        yield finding.without(secrets)


def _examine(
    resolver: InstanceResolver, instance_id: str | None, *, deep: bool
) -> Iterator[Finding]:
    advice = Advice()
    yield from advice.others()
    asked = Service(resolver, Asker(resolver.backend, resolver.settings), instance_id)
    looked_at: set[str] = set()
    why = ""
    for finding in _of_service(resolver, asked, advice, deep=deep):
        looked_at.add(finding.probe)
        why = f"see {finding.probe}"
        yield finding
    for probe in _OF_SERVICE:
        if probe not in looked_at:
            is_shallow = probe in DEEP and not deep
            yield skipped(probe, "only with --deep" if is_shallow else why)
    yield from cache_probes(resolver, advice, asked.listed)


def _of_service(
    resolver: InstanceResolver, asked: Service, advice: Advice, *, deep: bool
) -> Iterator[Finding]:
    """Look at the service, as far as it can be reached."""
    wire: Wire | None = None
    if isinstance(resolver.backend, HttpConfigService):
        try:
            wire = Wire(resolver.backend, resolver.settings)
        except Exception as exc:  # noqa: BLE001  # of a make_session of the project's own
            forget_locals(exc)
            yield error("answer", f"make_session failed ({type(exc).__name__})", "Correct it.")
            return
    with wire.session if wire else nullcontext():
        way = transport.reach(wire, asked.unknown, advice.text("W002")) if wire else None
        is_there = True
        for finding in way or _without_http(resolver):
            yield finding
            is_there = is_there and finding.level is not Level.ERROR
        if not is_there:
            return
        yield from _documents(resolver, asked, wire)
        if deep:
            yield from _deep(asked, wire)


def _without_http(resolver: InstanceResolver) -> Iterator[Finding]:
    backend = resolver.backend
    name = type(backend).__name__
    for probe in transport.PROBES:
        yield skipped(probe, f"{name} does not ask over HTTP")
    asked = Asker(backend, resolver.settings).instance("doctor-is-it-there")
    if asked.error is None or not _is_down(asked.error):
        yield ok("answer", f"{describe(backend)} answers")
        return
    seen = f"{describe(backend)} gives no answer: {asked.problem}"
    yield error("answer", seen, "Correct CONFIG_SERVICE_URL, or what it names, or the backend.")


def _is_down(exc: Exception) -> bool:
    return isinstance(exc, ConfigServiceUnavailable) or not isinstance(exc, InstanceLookupError)


def _documents(resolver: InstanceResolver, asked: Service, wire: Wire | None) -> Iterator[Finding]:
    named, problem = asked.sample, ""
    if named is not None:
        try:
            check_id(resolver, named)
        except InvalidContext as exc:
            problem = str(exc)
    yield _looked("list", asked.first_page)
    if problem:
        asked.sample = None
    yield _looked("unknown id", asked.missing)
    yield _looked("latency", asked.latency)
    yield _looked("projects", asked.projects)
    if asked.sample is None:
        if problem:
            yield error("document", problem, "Name another one with --instance.")
        for probe in _NEED_SAMPLE:
            if not (problem and probe == "document"):
                yield skipped(probe, "there is no instance to look at", "--instance names one.")
        return
    yield from _how_it_is_sent(wire, asked.sample)
    yield _looked("document", asked.document)
    yield _looked("etag", asked.etag)
    yield _looked("users", asked.users)


def _how_it_is_sent(wire: Wire | None, instance_id: str) -> Iterator[Finding]:
    if wire is None:
        for probe in transport.BODY_PROBES:
            yield skipped(probe, "this backend does not ask over HTTP")
        return
    try:
        yield from list(transport.body_probes(wire, instance_id))
    except Exception as exc:  # noqa: BLE001  # whatever the session raises
        forget_locals(exc)
        for probe in transport.BODY_PROBES:
            yield skipped(probe, f"no answer ({type(exc).__name__})")


def _deep(asked: Service, wire: Wire | None) -> Iterator[Finding]:
    if wire is None:
        for probe in transport.DEEP_PROBES:
            yield skipped(probe, "this backend does not ask over HTTP")
    else:
        yield from transport.credential_probes(wire, asked.sample or asked.unknown)
    if asked.listed is None:
        for probe in service.DEEP_PROBES:
            yield skipped(probe, "there is no list that can be read")
        return
    yield _looked("whole list", asked.whole_list)
    yield _looked("all documents", asked.all_documents)


def _looked(probe: str, look: Callable[[], Finding]) -> Finding:
    """Return what a probe finds. An answer of a form that no backend may give breaks it only."""
    try:
        return look()
    except Exception as exc:  # noqa: BLE001  # whatever is done with an answer of any form
        forget_locals(exc)
        why = f"the answer has no form that can be read ({type(exc).__name__})"
        return error(probe, why, "docs/how-to/extending.md says what a backend returns.")


def _secrets_of(settings: Settings) -> list[str]:
    """Return what no finding may hold, where a service repeats it."""
    proxy = urlsplit(settings.config_service_proxy or "").password or ""
    return [settings.config_service_token or "", proxy, unquote(proxy), *settings.encryption_keys]
