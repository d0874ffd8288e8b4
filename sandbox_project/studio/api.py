"""The API: where a caller stands, and jobs for the instance's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup.permissions import HasInstanceFeature, IsInstanceOwnerOrAdmin
from studio.jobs import route_job
from studio.standing import standing

if TYPE_CHECKING:
    from rest_framework.request import Request


class InstanceView(APIView):
    """Tell which instance the caller is in, and what it allows."""

    def get(self, request: Request, **named: str) -> Response:
        return Response(standing(request))


class JobSerializer(serializers.Serializer[Any]):
    """What to do, and which worker is to do it."""

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
