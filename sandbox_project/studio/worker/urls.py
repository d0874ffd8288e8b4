"""The worker's one address."""

from __future__ import annotations

from django.urls import path

from studio.worker.views import take_job

urlpatterns = [path("jobs", take_job)]
