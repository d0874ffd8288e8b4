"""The reference Config Service: which changes are noted, and whose turn it is to send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.receiver import receiving, told
from tests.sandbox.service import run_in_service, start_config_service

if TYPE_CHECKING:
    from pathlib import Path

WAYS = """
    import json, tempfile, time
    from datetime import timedelta
    from unittest.mock import patch
    from django.core import serializers
    from django.core.management import call_command
    from django.db import transaction
    from config_service.models import Change, Instance, Project
    from config_service.outbox import bell
    from config_service.sender import sending
    from django.utils import timezone

    def types():
        found = [f"{c.type} {c.subject_id}" for c in Change.objects.order_by("pk")]
        Change.objects.all().delete()
        return found

    seen, rung = {}, bell.rung
    with transaction.atomic():
        Instance.objects.create(pk="z").delete()
        seen["rung too early"] = bell.rung != rung
    seen["rung"] = bell.rung != rung; types()
    Instance(pk="a", owner="7").save(); seen["save"] = types()
    try:
        with transaction.atomic():
            Instance.objects.create(pk="lost")
            raise LookupError
    except LookupError:
        seen["rolled back"] = types()
    Instance.objects.update_or_create(pk="b", defaults={"name": "B"}); seen["or create"] = types()
    b = Instance.objects.get(pk="b"); b.owner = "9"; b.name = "C"
    b.save(update_fields=["name"]); seen["another field"] = types()
    a = Instance.objects.get(pk="a"); a.owner = "9"
    a.save(update_fields=["owner"]); seen["the owner"] = types()
    a.owner = ""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(serializers.serialize("json", [a])); file.flush()
        call_command("loaddata", file.name, verbosity=0)
    seen["fixture"] = types()
    Project.objects.create(pk="p", instance=a); types()
    Instance.objects.filter(pk__in=["a", "b"]).delete(); seen["queryset delete"] = types()
    Instance.objects.bulk_create([Instance(pk="c")])
    Instance.objects.update(name="D"); seen["excepted"] = types()
    types()
    with patch("config_service.announcing.note", side_effect=OSError):
        try:
            Instance.objects.create(pk="half")
        except OSError:
            pass
    seen["half"] = [*Instance.objects.filter(pk="half"), *types()]
    Instance.objects.all().delete()

    Change.objects.update(created_at=timezone.now() - timedelta(days=3))
    give_up = time.monotonic() + 30
    with sending():
        while Change.objects.exists() and time.monotonic() < give_up:
            time.sleep(0.01)
    seen["kept for ever"] = types()
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a service that does not run."""
    data_dir = tmp_path_factory.mktemp("database")
    with start_config_service(data_dir, seed=False):
        return data_dir


def test_each_way_through_the_models_is_told(database: Path) -> None:
    """What sends the models' signals is told, with the row or not at all: neither is kept alone."""
    assert run_in_service(database, WAYS) == {
        "rung too early": False,
        "rung": True,
        "save": ["instance.updated a"],
        "rolled back": [],
        "or create": ["instance.updated b"],
        "another field": ["instance.updated b"],
        "the owner": ["instance.revoked a"],
        "fixture": ["instance.revoked a"],
        "queryset delete": ["project.deleted p", "instance.deleted b", "instance.deleted a"],
        "excepted": [],
        "half": [],
        "kept for ever": [],
    }


CLOCK = """
    import json
    from datetime import timedelta
    from django.db import connection
    from django.utils import timezone
    from config_service import outbox
    from config_service.models import Change, Delivery, Instance
    from django.conf import settings

    [url], now, seen = settings.WEBHOOKS, timezone.now(), []
    day, second = timedelta(days=1), timedelta(seconds=1)
    Change.objects.all().delete()
    one = Instance.objects.create(pk="one"); one.save()
    Instance.objects.create(pk="two")

    def claimed(now):
        found = outbox.claim(url, now, 10)
        return found and [str(found.change), found.attempts]

    now = timezone.now()
    seen.append(["order", claimed(now), claimed(now), claimed(now)])
    seen.append(["lost", claimed(now + 9 * second), claimed(now + 11 * second)])
    raced = []
    def another_sender_is_first(execute, sql, *more):
        if sql.startswith("UPDATE") and not raced:
            raced.append("begun"); raced.append(claimed(now + 11 * second))
        return execute(sql, *more)
    with connection.execute_wrapper(another_sender_is_first):
        seen.append(["raced", claimed(now + 11 * second), raced[1]])
    stale = Delivery.objects.get(change__subject_id="one", attempts=2); stale.attempts = 1
    outbox.failed(stale, "late", now + 10 * day, now)
    seen.append(["a late report", Delivery.objects.filter(last_error="late").count()])
    held = Delivery.objects.get(change__subject_id="one", attempts=2)
    outbox.failed(held, "500", now + 30 * second, now + 30 * second)
    seen.append(["paused", claimed(now + 29 * second), claimed(now + 31 * second)])
    seen.append(["tidy", outbox.tidy(now + day - second), outbox.tidy(now + day + second)])
    seen.append(["given up", claimed(now + day + second), Delivery.objects.count()])
    outbox.tidy(now + 2 * day + second)
    seen.append(["removed", Change.objects.count(), Delivery.objects.count()])
    print(json.dumps(seen))
"""


def test_claims_and_ages(database: Path) -> None:
    """Claims, pauses and ages go by the clock: a claim that is too old is anyone's."""
    url = "http://127.0.0.1:9/"
    assert run_in_service(database, CLOCK, CONFIG_SERVICE_WEBHOOKS=told(url)) == [
        ["order", ["instance.updated one", 1], ["instance.updated two", 1], None],
        ["lost", None, ["instance.updated one", 2]],
        ["raced", None, ["instance.updated two", 2]],
        ["a late report", 0],
        ["paused", None, ["instance.updated one", 3]],
        ["tidy", 0, 3],
        ["given up", None, 3],
        ["removed", 0, 0],
    ]


ONCE = """
    import json
    from django.core.management import call_command
    from config_service.models import Delivery, Instance

    Instance.objects.create(pk="once")
    call_command("send_changes", "--once")
    print(json.dumps([Delivery.objects.get(change__subject_id="once").attempts]))
    Instance.objects.all().delete()
"""


def test_send_changes_once_sends_what_is_due(database: Path) -> None:
    """The command can be run by a timer: it sends, and ends."""
    with receiving() as receiver:
        done = run_in_service(database, ONCE, CONFIG_SERVICE_WEBHOOKS=told(receiver))
        assert done == [1]
        assert [each.type for each in receiver.got("once")] == ["instance.updated"]
