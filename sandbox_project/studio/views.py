"""The pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from rest_framework.exceptions import APIException

from instance_lookup.decorators import instance_required
from studio.dispatch import route_job
from studio.people import PASSWORD, PEOPLE
from studio.standing import standing

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from studio.standing import InstanceRequest


class LogIn(LoginView):
    """Django's own, with the names of the story's people beside it."""

    template_name = "studio/log_in.html"
    redirect_authenticated_user = True
    extra_context = {"people": PEOPLE, "password": PASSWORD}  # noqa: RUF012  # Django's name, not changed


@never_cache
@login_required
@instance_required
def home(request: InstanceRequest, **named: str) -> HttpResponse:
    """Show who I am, which instance I am in and why, and what it allows."""
    return render(request, "studio/home.html", {"standing": standing(request)})


@login_required
def pick(request: HttpRequest) -> HttpResponse:
    """Go to the instance or project that the form names."""
    kind = "project" if request.GET.get("kind") == "project" else "instance"
    name = request.GET.get("id", "").strip()
    return redirect(kind, name) if name else redirect("home")


@require_POST
@login_required
@instance_required
def send_job(request: InstanceRequest, instance_id: str) -> HttpResponse:
    """Route a job, and say on the next page what became of it."""
    worker, task = request.POST.get("worker", ""), request.POST.get("task", "")
    try:
        answer: dict[str, Any] = route_job(request.instance_config, worker, task)
    except APIException as exc:
        messages.error(request, str(exc))
    else:
        done = f"{worker} answers: {answer.get('result')} (key of {answer.get('customer')})"
        messages.success(request, done)
    return redirect("instance", instance_id)
