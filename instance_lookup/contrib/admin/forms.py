"""The forms that change something. The first POST asks, the second does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest
from django.http import HttpResponseRedirect

from instance_lookup.contrib.admin import actions
from instance_lookup.contrib.admin.actions import ACTIONS
from instance_lookup.contrib.admin.listing import PAGE, look
from instance_lookup.contrib.admin.models import Instance
from instance_lookup.contrib.admin.pages import back_url, render
from instance_lookup.operations.listing import list_page
from instance_lookup.outcomes import Failure, printable

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest, HttpResponse

    from instance_lookup.contrib.admin.actions import Action
    from instance_lookup.resolver import InstanceResolver

WORD = "purge all"
"""What has to be typed before everything is purged."""
NAMED = 10
"""How many instances, and how many failures, a message names."""


def act(
    model_admin: ModelAdmin[Any], resolver: InstanceResolver, request: HttpRequest
) -> HttpResponse:
    """Ask whether to do what was chosen to the chosen instances; once confirmed, do it.

    ``model_admin`` are the pages of the admin site that ``request`` came to; ``resolver`` does the
    work.
    """
    form = request.POST
    action = ACTIONS.get(form.get("action", ""))
    ids = list(dict.fromkeys(form.getlist("shown" if form.get("everything") else "id")))[:PAGE]
    if action is None:
        raise BadRequest("There is no such action.")
    if not ids:
        messages.warning(request, "No instance is selected: nothing was done.")
        return _back(model_admin, request)
    problem = ""
    if form.get("confirmed"):
        try:
            _do(resolver, request, action, ids)
        except ValueError as exc:
            problem = f"Nothing was done: {exc}"
        else:
            return _back(model_admin, request)
    rows, cache_failure = look(resolver, [one for one in ids if resolver.selector.is_id(one)])
    context = {
        "action": action,
        "rows": rows,
        "ids": ids,
        "problem": problem,
        "cache_failure": cache_failure,
        "back": form.get("back", ""),
        "back_url": back_url(model_admin, request),
    }
    many = f"{len(ids)} instances" if len(ids) > 1 else printable(ids[0])
    return render(model_admin, request, "confirm", f"{action.label} {many}?", context)


def purge_all(
    model_admin: ModelAdmin[Any], resolver: InstanceResolver, request: HttpRequest
) -> HttpResponse:
    """Ask for the word, and then purge everything.

    ``model_admin`` are the pages of the admin site that ``request`` came to; ``resolver`` does the
    work.
    While the Config Service does not answer, that would take every instance down: then it has to
    be asked for by a second mark.
    """
    form = request.POST
    listed = list_page(resolver)
    is_down = listed.failure is not None and not listed.has_no_list
    problem = ""
    if form.get("confirmed"):
        if form.get("word", "").strip().lower() != WORD:
            problem = f"Nothing was purged: type “{WORD}” to confirm."
        elif is_down and not form.get("force"):
            problem = "Nothing was purged: tick the box to do it while the service is down."
        else:
            _purge_all(resolver, request)
            return _back(model_admin, request)
    context = {"word": WORD, "is_down": is_down, "failure": listed.failure, "problem": problem}
    context["back_url"] = back_url(model_admin, request)
    return render(model_admin, request, "purge_all", "Purge all instances?", context)


def _do(resolver: InstanceResolver, request: HttpRequest, action: Action, ids: list[str]) -> None:
    done, failures, unpublished = [], [], resolver.get_cache_stats().unpublished
    for outcome in action.run(resolver, ids, request.POST.get("given", "")):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            _log(request, outcome.name, f"Not {action.done.lower()}: {outcome.error}.")
        else:
            done.append(outcome)
            _log(request, outcome, f"{action.done}.")
    if done:
        messages.success(request, f"{action.done} {_names(done)}.")
    for failure in failures[:NAMED]:
        messages.error(request, f"Not {action.done.lower()}: {failure}")
    if more := failures[NAMED:]:
        messages.error(request, f"Not {action.done.lower()}: {len(more)} more.")
    _tell_unpublished(resolver, request, unpublished)


def _purge_all(resolver: InstanceResolver, request: HttpRequest) -> None:
    unpublished = resolver.get_cache_stats().unpublished
    if failure := actions.purge_all(resolver):
        _log(request, None, f"All instances not purged: {failure.error}.")
        messages.error(request, f"Not purged: {failure}")
        return
    _log(request, None, "All instances purged.")
    messages.success(request, "Purged all instances and projects.")
    _tell_unpublished(resolver, request, unpublished)


def _tell_unpublished(resolver: InstanceResolver, request: HttpRequest, before: int) -> None:
    """Say what it means where other processes could not be told."""
    settings = resolver.settings
    if resolver.get_cache_stats().unpublished > before:
        messages.warning(
            request,
            "The cache has the change, but other processes could not be told about it: they may"
            f" serve what they have in memory for {settings.near_cache_ttl:g} s more"
            " (NEAR_CACHE_TTL). Check that the user of"
            f" CACHES[{settings.cache_alias!r}] may PUBLISH.",
        )


def _log(request: HttpRequest, instance_id: str | None, message: str) -> None:
    """Write into the admin's log; ``None``: it was about all instances."""
    about = [Instance(instance_id=instance_id or "")]
    user_id = cast("int", request.user.pk)
    LogEntry.objects.log_actions(user_id, about, CHANGE, change_message=message, single_object=True)


def _names(ids: list[str]) -> str:
    named, more = ", ".join(ids[:NAMED]), len(ids) - NAMED
    return f"{named} and {more} more" if more > 0 else named


def _back(model_admin: ModelAdmin[Any], request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(back_url(model_admin, request))
