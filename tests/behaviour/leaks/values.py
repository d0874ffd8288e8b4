"""The doors that need no request: values, commands, metrics, spans, Redis."""

from __future__ import annotations

import json
import pickle
import pprint
import socket
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from inspect import iscoroutine
from io import StringIO
from typing import TYPE_CHECKING, Any

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management import ManagementUtility, call_command
from django.test import RequestFactory, override_settings

from instance_lookup import (
    InstanceConfig,
    InstanceResolver,
    LookupContext,
    LookupUser,
    aresolve_instance,
    get_resolver,
    resolve_instance,
)
from instance_lookup.checks import check_settings
from instance_lookup.conf import get_settings
from instance_lookup.context_processors import instance
from instance_lookup.frozen import SecretDict
from instance_lookup.request.attributes import attach
from tests.behaviour.leaks.site import USERS, log, told, traced, webhook_secret
from tests.support.near import ALIAS, near_caches
from tests.support.secrets import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.behaviour.leaks.site import Site


def public_objects(site: Site) -> list[Any]:
    """Return one of each thing that a project gets from us, as it is after much has happened."""
    resolver = get_resolver()
    with told() as seen:
        used = site.use()
    result = used[0]
    config = result.config
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = USERS["ada"]
    attach(request)
    public = instance(request)["instance"]
    assert public.instance_id == "acme"
    keys, urls = config.api_keys, config.worker_urls
    every = [
        *used,
        *seen,
        *(config, config.metadata, keys, urls, config.bearer("render"), config.rate_limits),
        *(keys.items(), keys.values(), urls.items(), urls.values(), keys | urls, urls | {}),
        *(result.grant, resolver, resolver.cache, resolver.backend, resolver.settings),
        *(get_settings(), resolver.get_cache_stats(), resolver.cache.get("acme")),
        *(LookupContext.from_request(request), request, public, request.instance_config),
        *(request.instance_lookup, vars(request), [config, used], {"of": [config]}),
    ]
    return list({type(one): one for one in reversed(every)}.values())  # the first of each


SHOWS: list[Callable[[Any], object]] = [
    repr,
    str,
    ascii,
    lambda one: f"{one} {one!r}",
    lambda one: "%s %r" % (one, one),  # noqa: UP031  # as logging does it
    pprint.pformat,
    lambda one: pprint.pformat({"of": [one]}, width=1),
    lambda one: pprint.pformat(vars(one)),
    lambda one: getattr(one, "args", ""),
    lambda one: list(one.__rich_repr__()),
    lambda one: [repr(getattr(one, name)) for name in one.__slots__ if name[0] == "_"],
    lambda one: type(one).__sentry_repr__(one),
    lambda one: one.__notes__,
]
RAISES: list[Callable[[Any], object]] = [
    lambda one: json.dumps({"of": one}) if not isinstance(one, dict) else None,
    lambda one: json.dumps({one: 1}),
    lambda one: pickle.dumps({"of": one}) if isinstance(one, InstanceConfig) else None,
    lambda one: one.no_such_attribute,
    lambda one: one["no such key"],
    lambda one: one + 1,
    lambda one: one(),
    lambda one: setattr(one, "instance_id", "x"),
    lambda one: one.__setitem__("a", 1),
    lambda one: sorted([one, one]),
    lambda one: iter(one).throw(),
    lambda one: msgspec.convert(one, InstanceConfig, from_attributes=True),
    int,
]


def shown_of_values(site: Site) -> str:
    """Return all ways to turn public objects into text."""
    from rich.pretty import pretty_repr

    shown = []
    for one in public_objects(site):
        for show in (*SHOWS, pretty_repr):
            # Not every object has everything.
            with suppress(AttributeError, TypeError):
                shown.append(str(show(one)))
    return "".join(shown)


def errors_about_values(site: Site) -> str:
    """Return what errors say that arise where a public object is misused, with local variables."""
    return "".join(_error(act, one) for one in public_objects(site) for act in RAISES)


def _error(act: Callable[[Any], object], one: Any) -> str:
    try:
        act(one)
    except Exception as exc:  # noqa: BLE001  # whatever it is
        return f"{traced(exc)} {exc!r} {getattr(exc, 'obj', '')!r}"
    return ""


def errors_of_settings(site: Site) -> str:
    """Return what is said of settings that are wrong, with their secrets in them."""
    user = f"{secret('url user')}:{secret('url password')}"
    token, key = secret("token"), site.settings()["ENCRYPTION_KEYS"][0]
    wrong: list[dict[str, Any]] = [
        {"config_service_url": f"http://{user}@config.invalid"},
        {"config_service_url": f"{user}@config.invalid"},
        {"config_service_url": f"http://config.invalid?key={secret('url password')}"},
        {"config_service_proxy": f"https://{user}@proxy.invalid"},
        {"config_service_proxy": f"socks5://{user}@proxy.invalid"},
        {"config_service_token": f"{token}\n"},
        {"config_service_token": [token]},
        {"config_service_token": f"{token}é"},
        {"encryption_keys": key},
        {"encryption_keys": [key[:-4]]},
        {"encryption_keys": {key: 1}},
        {"webhook_secrets": webhook_secret()},
        {"webhook_secrets": [webhook_secret()[:-2]]},
        {"webhook_secrets": [webhook_secret()[6:]]},
        {"webhook_secrets": [webhook_secret(), webhook_secret()[:30]]},
        {"webhook_secrets": {webhook_secret(): 1}},
    ]
    shown = []
    for options in map(SecretDict, wrong):
        url = {"config_service_url": "http://config.invalid"}
        for build in (InstanceResolver, get_resolver, _resolve, _aresolve):
            shown += [_complaint(build, SecretDict(url) | options)]
        with override_settings(INSTANCE_LOOKUP={**site.settings(), **_as_setting(options)}):
            shown += [_complaint(get_settings, {}), site.get("page"), str(check_settings())]
            with override_settings(DEBUG=True):
                shown += [site.get("page"), site.get("page", is_async=True)]
    return "".join(shown)


_resolve = partial(resolve_instance, LookupContext(LookupUser.service(), instance_id="acme"))
_aresolve = partial(aresolve_instance, LookupContext(LookupUser.service(), instance_id="acme"))


def _as_setting(options: SecretDict) -> SecretDict:
    return SecretDict({name.upper(): value for name, value in options.items()})


def _complaint(build: Callable[..., object], options: Mapping[str, Any]) -> str:
    try:
        built = build(**options)
        return repr(_awaited(built) if iscoroutine(built) else built)
    except Exception as exc:  # noqa: BLE001  # whatever it is
        return f"{traced(exc)} {exc.__cause__!r} {exc.__context__!r} {vars(exc)}"


@async_to_sync
async def _awaited(answer: Any) -> Any:
    return await answer


COMMANDS = [
    "check_config_service",
    "check_config_service --format json",
    "explain_instance_lookup --user ada --header X-Instance-ID:acme",
    "explain_instance_lookup --user ada --header X-Instance-ID:acme --format json",
    "explain_instance_lookup --user ada --header X-Instance-ID:down",
    "explain_instance_lookup --user nobody",
    "inspect_instance_cache acme --show-config",
    "inspect_instance_cache acme --show-config --format json",
    "inspect_instance_cache acme wrong down --compare",
    "inspect_instance_cache acme wrong down --compare --format json",
    "inspect_instance_cache",
    "instance_lookup_status",
    "instance_lookup_status --format json",
    "warm_instance_cache acme wrong down missing",
    "warm_instance_cache --all --format json",
    "invalidate_instance_cache acme --expire",
    "invalidate_instance_cache acme --format json",
    "invalidate_instance_cache --nonsense",
    "check",
    "check --deploy",
]


def commands(site: Site) -> str:
    """Return what each command prints, in each format, with each detail, and where it fails."""
    site.use()
    return "".join(_printed(line) for line in COMMANDS)


def _printed(line: str) -> str:
    shown, words = StringIO(), [*line.split(), "--verbosity", "3", "--traceback"]
    with redirect_stdout(shown), redirect_stderr(shown):
        try:
            ManagementUtility(["manage.py", *words]).execute()
        except (Exception, SystemExit) as exc:  # noqa: BLE001  # it is looked at
            shown.write(f"{exc} {traced(exc)}")
    return f"$ {line}\n{shown.getvalue()}"


def metrics(site: Site) -> str:
    """Return what Prometheus scrapes, and OpenTelemetry's metrics."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from prometheus_client import CollectorRegistry, generate_latest

    from instance_lookup import events
    from instance_lookup.contrib.opentelemetry.metrics import Metrics
    from instance_lookup.contrib.prometheus.exporter import Exporter

    registry, reader = CollectorRegistry(auto_describe=True), InMemoryMetricReader()
    exporter, meters = Exporter(registry), Metrics(MeterProvider([reader]))
    exporter.start()
    events.watch(meters)
    try:
        site.use()
        data = reader.get_metrics_data()
        return f"{generate_latest(registry).decode()} {data and data.to_json()}"
    finally:
        events.unwatch(meters)
        exporter.stop()


def spans(site: Site) -> str:
    """Return OpenTelemetry's spans: ours, those of requests and those of the client of Redis."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from instance_lookup import events
    from instance_lookup.contrib.opentelemetry.spans import Spans

    ended, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ended))
    ours = Spans(provider)
    clients: list[Any] = [RedisInstrumentor(), RequestsInstrumentor()]
    for client in clients:
        client.instrument(tracer_provider=provider)
    events.watch(ours)
    try:
        site.use()
        for path in ("call", "dead", "crash"):
            site.get(path)
    finally:
        events.unwatch(ours)
        for client in clients:
            client.uninstrument()
    return "".join(span.to_json() for span in ended.get_finished_spans())


def stored(site: Site) -> str:
    """Return every key of ours in Redis, and what is under it."""
    import redis

    site.use()
    with redis.Redis(port=site.redis.port) as client:
        ours = client.scan_iter(f"{settings.CACHES[ALIAS]['KEY_PREFIX']}*")
        return repr({key: client.get(key) for key in ours if client.type(key) == b"string"})


def sql(site: Site) -> str:
    """Return the SQL that Django logs with ``DEBUG``, where the cache is a table."""
    table = {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "leaks",
        "KEY_PREFIX": "sql",
    }
    with near_caches(**{ALIAS: table}), override_settings(DEBUG=True), log() as seen:
        call_command("createcachetable")
        site.use()
    return seen.getvalue()


def monitored(site: Site) -> str:
    """Return what an operator sees who types MONITOR."""
    seen: list[bytes] = []
    with socket.create_connection(("127.0.0.1", site.redis.port)) as connection:
        connection.sendall(b"MONITOR\r\n")
        assert connection.recv(5) == b"+OK\r\n"

        def read() -> None:
            with suppress(OSError):
                while part := connection.recv(65_536):
                    seen.append(part)
                    if b"that is all" in part:
                        return

        reader = threading.Thread(target=read)
        reader.start()
        site.use()
        site.get("page")
        site.redis.command("ECHO", '"that is all"')
        reader.join(10)
    return b"".join(seen).decode("latin-1")
