"""What instruments the clients of caches sees no API key: real Sentry, real OpenTelemetry."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from instance_lookup import InstanceResolver, Source
from tests.support.lookups import SECRET, TWINS, Service, Twin, asks
from tests.support.near import ALIAS, BACKENDS, near_caches, near_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def use_everything(twin: Twin, **options: Any) -> None:
    """Miss, hit, invalidate and miss again."""
    resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service(), **options)
    assert twin(resolver, "resolve", asks()).source is Source.SERVICE
    assert twin(resolver, "resolve", asks()).source is Source.CACHE
    assert twin(resolver, "invalidate_cache", "acme")
    twin(resolver, "refresh", "acme")


@pytest.fixture
def sentry() -> Iterator[list[str]]:
    """Everything that Sentry would be sent, as JSON: it may send all that it can."""
    import sentry_sdk
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.redis import RedisIntegration

    class Post(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(json.dumps(item.payload.json) for item in envelope.items)

    sent: list[str] = []
    with warnings.catch_warnings(action="ignore"):  # newer releases have another name for it
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=Post,
            send_default_pii=True,
            traces_sample_rate=1.0,
            max_value_length=100_000,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                DjangoIntegration(cache_spans=True),
                RedisIntegration(max_data_size=None),
            ],
        )
    yield sent
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


@each_backend
@pytest.mark.parametrize("twin", TWINS)
def test_sentry_sees_commands_without_keys(
    redis_server: RedisServer, sentry: list[str], backend: str, twin: Twin
) -> None:
    """Spans and breadcrumbs of the client hold the commands, with arguments."""
    import sentry_sdk

    with near_caches(instances=near_config(backend, redis_server.url())):
        with sentry_sdk.start_transaction(name="request"):
            use_everything(twin)
            sentry_sdk.capture_message("look at the breadcrumbs")
        sentry_sdk.flush()
    sent = "".join(sentry)
    assert SECRET not in sent
    # Valkey's client Sentry does not instrument; threads of ours have a scope of their own.
    if backend != "django-valkey" and not twin.is_async:
        assert "instance_config:acme" in sent


def test_sentry_sees_an_error_of_the_cache_without_keys(
    own_redis_server: RedisServer, sentry: list[str]
) -> None:
    """Sentry's event for a cache error has frames and causes, and none shows a key."""
    import sentry_sdk

    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        resolver = InstanceResolver(cache_alias=ALIAS, config_service_backend=Service())
        config = resolver.resolve(asks()).config
        own_redis_server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            resolver.cache.set("acme", config)
        except Exception as exc:  # noqa: BLE001  # what it is, is seen in what is sent
            sentry_sdk.capture_exception(exc)
        sentry_sdk.flush()
    sent = "".join(sentry)
    assert "CacheUnwritable" in sent
    assert SECRET not in sent


@pytest.mark.parametrize("backend", ["django-redis", "redis"])
@pytest.mark.parametrize("twin", TWINS)
def test_opentelemetry_sees_commands_without_keys(
    redis_server: RedisServer, backend: str, twin: Twin
) -> None:
    """OpenTelemetry's spans hold no key, also when statements are recorded unchanged."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    seen: list[Any] = []
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = RedisInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider,
        request_hook=lambda span, connection, args, kwargs: seen.append(repr((args, kwargs))),
    )
    try:
        with near_caches(instances=near_config(backend, redis_server.url())):
            use_everything(twin)
    finally:
        instrumentor.uninstrument()
    shown = "".join([*seen, *(span.to_json() for span in spans.get_finished_spans())])
    assert "instance_config:acme" in shown
    assert SECRET not in shown


class Watched(LocMemCache):
    """Notes what an instrumentation of Django's caches would: the arguments of each call."""

    seen: list[str] = []  # noqa: RUF012  # one for all threads

    def set(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(f"{args!r} {args} {[*map(str, args)]} {[f'{each}' for each in args]}")
        super().set(*args, **kwargs)


@pytest.mark.parametrize("options", [{}, {"compress_above": 1}])
def test_arguments_of_other_caches_show_no_keys(options: dict[str, Any]) -> None:
    """A tool that records the calls of other Django caches sees no key."""
    watched = {"BACKEND": f"{__name__}.Watched", "LOCATION": uuid4().hex}
    with override_settings(CACHES={ALIAS: watched, "default": watched}):
        use_everything(TWINS[0].values[0], **options)  # type: ignore[arg-type]
    shown = "".join(Watched.seen)
    Watched.seen.clear()
    assert "instance_config:acme" in shown
    assert "not shown" in shown
    assert SECRET not in shown
