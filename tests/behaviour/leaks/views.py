"""Views as users write them: they hold the configuration, and fail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import requests
from django.http import HttpResponse
from django.template import engines
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup import get_resolver
from instance_lookup.context_processors import instance
from instance_lookup.permissions import IsInstanceOwnerOrAdmin

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig, LookupResult

logger = logging.getLogger("site")


def fail(config: InstanceConfig, result: LookupResult) -> None:
    """Raise with everything there is in a local variable."""
    keys, urls, metadata = config.api_keys, config.worker_urls, config.metadata
    bearer = config.bearer("render")
    pairs, values = keys.items(), [urls.items(), urls.values(), keys.values()]
    resolver = get_resolver()
    cache, backend, settings = resolver.cache, resolver.backend, resolver.settings
    everything = {"of": [config, result, keys, urls, metadata, bearer, pairs, values]}
    inside = [resolver, cache, backend, settings, vars(resolver), vars(backend), vars(cache)]
    logger.info("about to fail with %s and %s", everything, inside)
    raise ZeroDivisionError(f"of {config.instance_id}: {everything}")


def page(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


def crash(request: Any) -> HttpResponse:
    fail(request.instance_config, request.instance_lookup)
    return page(request)


async def acrash(request: Any) -> HttpResponse:
    config, result = await request.ainstance_config(), await request.ainstance_lookup()
    fail(config, result)
    return page(request)


def ask(config: InstanceConfig, worker: str) -> int:
    with requests.Session() as session:
        session.trust_env = False
        url = config.worker_urls[worker]
        return session.post(url, json={"of": "acme"}, auth=config.bearer(worker)).status_code


async def aask(config: InstanceConfig, worker: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = config.worker_urls[worker]
        return (await client.post(url, json={}, auth=config.bearer(worker))).status_code


def call(request: Any) -> HttpResponse:
    return HttpResponse(f"acme {ask(request.instance_config, 'plain')}")


async def acall(request: Any) -> HttpResponse:
    return HttpResponse(f"acme {await aask(await request.ainstance_config(), 'plain')}")


def dead(request: Any) -> HttpResponse:
    return HttpResponse(f"acme {ask(request.instance_config, 'dead')}")


async def adead(request: Any) -> HttpResponse:
    return HttpResponse(f"acme {await aask(await request.ainstance_config(), 'dead')}")


def caught(request: Any) -> HttpResponse:
    try:
        fail(request.instance_config, request.instance_lookup)
    except ZeroDivisionError:
        logger.exception("failed for %s", request.instance_config)
    return page(request)


def debug(request: Any) -> HttpResponse:
    """Show all that a template can be made to show of the public ``instance``."""
    source = "{% debug %} {{ instance }} {{ instance.worker_urls }} {{ instance.metadata }}"
    template = engines["django"].from_string(f"{source} {{{{ instance.instance_id }}}}")
    return HttpResponse(template.render(instance(request), request))


class Api(APIView):
    permission_classes = (IsInstanceOwnerOrAdmin,)
    renderer_classes = (BrowsableAPIRenderer, JSONRenderer)

    def get(self, request: Any) -> Response:
        config = request.instance_config
        shown = {
            "config": str(config),
            "urls": str(config.worker_urls),
            "keys": str(config.api_keys),
        }
        return Response({"instance": config.instance_id, **shown})


class CrashingApi(Api):
    def get(self, request: Any) -> Response:
        fail(request.instance_config, request.instance_lookup)
        return Response({})
