"""The API: where a caller stands, and jobs for the instance's workers."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup import LookupContext, LookupResult, get_resolver
from instance_lookup.inspection import masked
from instance_lookup.permissions import HasInstanceFeature, IsInstanceOwnerOrAdmin
from studio.jobs import route_job

if TYPE_CHECKING:
    from rest_framework.request import Request


def standing(request: Any) -> dict[str, Any]:
    """Return where a request stands, Django's or DRF's: all but what is secret.

    That is the values of the API keys, and of workers' URLs user, password and query.

    Times are in seconds, ``cached_at`` in Unix time. Raises what the lookup raises.
    """
    result: LookupResult = request.instance_lookup
    config = result.config
    is_owner = config.metadata.owner == str(request.user.pk)
    return {
        "instance_id": config.instance_id,
        "name": config.metadata.name,
        "owner": config.metadata.owner,
        # A user who is neither was refused before.
        "allowed_as": "owner" if is_owner else "admin",
        "decided_by": deciding_identifier(request),
        "source": result.source,
        "cached_at": result.cached_at,
        "age": round(max(0.0, time() - result.cached_at), 3),
        "ttl_remaining": round(result.ttl_remaining, 3),
        "features": dict(config.features),
        "rate_limits": {
            name: {"rpm": limit.rpm, "rpm_burst": limit.rpm_burst, "daily": limit.daily}
            for name, limit in config.rate_limits.items()
        },
        "worker_urls": masked(config)["worker_urls"],
        "key_names": sorted(config.api_keys),
    }


def deciding_identifier(request: Any) -> str:
    """Return the name of the first identifier that names an instance: the one that decided."""
    context = LookupContext.from_request(request)
    return next(
        type(identifier).__name__
        for identifier in get_resolver().identifiers
        if identifier.identify(context, request) is not None
    )


class InstanceView(APIView):
    """Tell which instance the caller is in, and what it allows."""

    def get(self, request: Request, **named: str) -> Response:
        return Response(standing(request))


class JobSerializer(serializers.Serializer[Any]):
    """A task, and the worker that is to do it."""

    worker = serializers.CharField(max_length=64, default="render")
    task = serializers.CharField(max_length=500)


class JobView(GenericAPIView[Any]):
    """Route a job to the instance's worker."""

    serializer_class = JobSerializer

    def post(self, request: Request, **named: str) -> Response:
        job = JobSerializer(data=request.data)
        job.is_valid(raise_exception=True)
        config = request.instance_config  # type: ignore[attr-defined]  # of the middleware
        return Response(route_job(config, **job.validated_data))


class UpscaleView(JobView):
    """Route a job that not every instance may have done."""

    permission_classes = (IsInstanceOwnerOrAdmin, HasInstanceFeature("upscale"))
