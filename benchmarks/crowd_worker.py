"""A process of callers: ``python -m benchmarks.crowd_worker CONTENDER REDIS SERVICE ID CALLERS``.

It says "ready", and when it is sent a line all its callers ask at once. Then it says how many
were answered.
"""

from __future__ import annotations

import os
import signal
import sys

import django
import requests


def main(contender: str, redis_url: str, service_url: str, instance_id: str, callers: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    signal.alarm(120)  # it ends by itself, whatever happens

    from benchmarks import work  # noqa: PLC0415  # after Django is set up
    from benchmarks.contenders import CONTENDERS, World  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False

    def fetch(asked: str) -> bytes:
        name = asked.rpartition(":")[2]
        response = session.get(f"{service_url}/instances/{name}", timeout=20)
        response.raise_for_status()
        return response.content

    with work.caches_on(redis_url):
        ask = CONTENDERS[contender](World(redis_url, fetch))
        print("ready", flush=True)
        sys.stdin.readline()
        print(len(ask(instance_id, int(callers))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Peers leave tasks and connections behind, which would be waited for or complained about.
    os._exit(0)
