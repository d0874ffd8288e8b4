"""The page of one instance."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.utils.timezone import localtime

from instance_lookup.contrib.admin.actions import ACTIONS
from instance_lookup.contrib.admin.charts import seconds
from instance_lookup.contrib.admin.listing import is_local
from instance_lookup.contrib.admin.models import Instance
from instance_lookup.contrib.admin.rows import NOTHING, Row, meaning
from instance_lookup.exceptions import CacheError
from instance_lookup.inspection import tell_of
from instance_lookup.management.table import duration
from instance_lookup.operations.callers import explain_user
from instance_lookup.operations.index import read_answers
from instance_lookup.outcomes import Failure, printable

if TYPE_CHECKING:
    from instance_lookup.operations.explanation import Layer
    from instance_lookup.operations.stored import Answer
    from instance_lookup.resolver import InstanceResolver

LOG = 10
"""How many entries of the admin's log are shown."""


def detail_context(
    resolver: InstanceResolver, instance_id: str, asked_user: str = ""
) -> dict[str, Any]:
    """Return what the page of the instance ``instance_id`` shows.

    ``resolver`` has the cache that is looked at. ``asked_user`` is what was typed to learn whether
    a user may have the instance.
    """
    shown: dict[str, Any] = {"row": Row(id=instance_id)}
    if not resolver.selector.is_id(instance_id):
        return {**shown, "malformed": printable(instance_id)}
    try:
        found = resolver.cache.tiers.shared.peek(instance_id)
        shown["answers"] = [*map(_line, read_answers(resolver, instance_id))]
    except CacheError as exc:
        shown["cache_failure"] = Failure.of(None, exc).message
    else:
        one = tell_of(resolver, instance_id, found)
        shown["row"] = Row.of(one, resolver.settings)
        if one.config is not None:
            shown["config"] = json.dumps(one.config, indent=2, ensure_ascii=False)
    if asked := asked_user.strip():
        told = explain_user(resolver, asked, instance_id=instance_id)
        shown |= {"asked": asked, "told": told, "layers": [*map(_layer, told.layers)]}
    return {
        **shown,
        "reports_are_off": not resolver.settings.report_status,
        "meaning": meaning(shown["row"].state, resolver.settings),
        "actions": ACTIONS.values(),
        "log": _log(instance_id),
        "is_local": is_local(resolver),
    }


def _layer(layer: Layer) -> dict[str, str]:
    times = (layer.age, layer.ttl_left, layer.purged_in)
    age, ttl_left, purged_in = (NOTHING if each is None else duration(each) for each in times)
    return {
        "where": layer.name,
        "state": layer.state,
        "age": age,
        "ttl_left": ttl_left,
        "purged_in": purged_in,
        "note": printable(layer.note),
    }


def _line(answer: Answer) -> dict[str, Any]:
    return {
        "at": localtime(datetime.fromtimestamp(answer.at, UTC)),
        "status": answer.status or NOTHING,
        "outcome": answer.outcome.replace("_", " "),
        "mark": "✕" if answer.failed else "✓",
        "latency": seconds(answer.seconds),
        "request_id": printable(answer.request_id),
    }


def _log(instance_id: str) -> list[LogEntry]:
    """Return what was done to an instance on these pages, the last first."""
    entries = LogEntry.objects.filter(
        content_type=get_content_type_for_model(Instance), object_id=instance_id
    )
    return list(entries.select_related("user").order_by("-action_time")[:LOG])
