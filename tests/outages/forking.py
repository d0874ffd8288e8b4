"""Looks up, and forks or spawns meanwhile: ``python -m tests.outages.forking METHOD``.

The environment names the Config Service. The child prints where each of its answers came from.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from threading import Thread
from typing import Any

import django
from django.conf import settings

from instance_lookup import LookupContext, LookupUser, get_resolver
from tests.support.insides import flights_of
from tests.support.waiting import wait_until

settings.configure(
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    INSTANCE_LOOKUP={
        "CONFIG_SERVICE_URL": os.environ["CONFIG_SERVICE_URL"],
        # On local memory a child has a copy of its parent's lease: it waits for half of this.
        "CONFIG_SERVICE_TIMEOUT": 10,
    },
)
django.setup()


def source(instance_id: str) -> str:
    context = LookupContext(LookupUser.service(), instance_id=instance_id)
    return str(get_resolver().resolve(context).source)


def child() -> None:
    signal.alarm(60)  # the process ends by itself in any case
    told = {instance_id: source(instance_id) for instance_id in ("first", "other", "slow")}
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()


def main(method: str) -> None:
    source("first")
    Thread(target=source, args=["slow"], daemon=True).start()
    wait_until(lambda: flights_of(get_resolver()))
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=child)
    process.start()
    process.join()
    sys.exit(process.exitcode)


if __name__ == "__main__":
    main(sys.argv[1])
