"""A process of callers: ``python -m tests.outages.caller OPTIONS``; see the module ``fleet``.

It says "ready", and when it is sent a line all its users ask at once. It says "missed" when none
of them found anything in the cache, and in the end what came of each.
"""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

from instance_lookup import InstanceResolver, LookupUser, RequestMetadata
from tests.support.caches import cache_config
from tests.support.lookups import asks
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from instance_lookup import LookupContext


def main(options: dict[str, Any]) -> None:
    signal.alarm(60)  # the process ends by itself in any case
    config = cache_config("django-redis", redis_url=options["redis_url"], SOCKET_TIMEOUT=20)
    config["KEY_PREFIX"] = options["prefix"]
    settings.configure(CACHES={"default": config})
    django.setup()

    resolver = InstanceResolver(**options["resolver"])
    metadata = RequestMetadata(request_id=options["name"])
    contexts = [asks(LookupUser(user), request_metadata=metadata) for user in options["users"]]
    say("ready")
    sys.stdin.readline()
    with ThreadPoolExecutor(len(contexts)) as pool:
        asked = [pool.submit(told, resolver, context) for context in contexts]
        wait_until(lambda: resolver.get_cache_stats().misses == len(contexts), 30)
        say("missed")
        say(json.dumps([future.result() for future in asked]))


def told(resolver: InstanceResolver, context: LookupContext) -> str:
    """Return where the answer came from, or which error it was."""
    try:
        return str(resolver.resolve(context).source)
    except Exception as exc:  # noqa: BLE001  # the test judges
        return type(exc).__name__


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
