"""Says when it serves something new; its arguments are the Redis, the service and the id."""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic, sleep

import django
import requests


def main(redis_url: str, service_url: str, instance_id: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    signal.alarm(120)  # it ends by itself, whatever happens

    from benchmarks import work  # noqa: PLC0415  # after Django is set up

    session = requests.Session()
    session.trust_env = False

    def fetch(asked: str) -> bytes:
        return session.get(f"{service_url}/instances/{asked}", timeout=20).content

    with work.caches_on(redis_url):
        resolver, context = work.resolver(fetch), work.context(instance_id)
        last = resolver.resolve(context).config.r2_bucket
        print("ready", flush=True)
        while True:
            version = resolver.resolve(context).config.r2_bucket
            if version != last:
                print(version, monotonic(), flush=True)
                last = version
            sleep(0.0005)


if __name__ == "__main__":
    main(*sys.argv[1:])
