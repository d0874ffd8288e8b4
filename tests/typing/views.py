"""The example of docs/how-to/extending.md."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpResponse, JsonResponse
from rest_framework.response import Response
from rest_framework.views import APIView

from instance_lookup.decorators import instance_required
from instance_lookup.permissions import InstanceAPIRequest, IsInstanceOwnerOrAdmin
from instance_lookup.request import InstanceRequest


@instance_required
def name(request: InstanceRequest) -> HttpResponse:
    return HttpResponse(request.instance_config.metadata.name or "")


async def bucket(request: InstanceRequest) -> JsonResponse:
    config = await request.ainstance_config()
    return JsonResponse({"bucket": config.r2_bucket})


class Limits(APIView):
    permission_classes = (IsInstanceOwnerOrAdmin,)

    def get(self, request: InstanceAPIRequest) -> Response:
        limits = request.instance_config.rate_limits
        return Response({name: limit.rpm for name, limit in limits.items()})


class OwnerRequest(InstanceRequest):
    user: User


@instance_required
def mail(request: OwnerRequest) -> HttpResponse:
    return HttpResponse(request.user.email)
