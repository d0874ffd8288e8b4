"""A site on a Redis and a Config Service, as a process of its own, under any server."""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests
from celery import Celery

from tests.support.documents import ROOT, Block, Site, blocks
from tests.support.mod_wsgi import as_unprivileged
from tests.support.running import started
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from tests.outages.sites import Service
    from tests.support.redis_server import RedisServer

PAGE = "server-models.md"

SETTINGS = """
import os

ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS += ["instance_lookup"]
MIDDLEWARE += ["instance_lookup.middleware.InstanceConfigMiddleware"]
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]},
}
INSTANCE_LOOKUP = {
    "CONFIG_SERVICE_URL": os.environ["CONFIG_SERVICE_URL"],
    "CONFIG_SERVICE_TIMEOUT": 20,
    "USER_CONTEXT": "mysite.users.olga",
    # What a process has in memory stays there: it forgets what it is told to forget, no more.
    "NEAR_CACHE_TTL": 300,
}
"""
USERS = """
from instance_lookup import LookupUser


def olga(user, request=None):
    return LookupUser("olga")
"""
TOLD = """
import os
import threading

from instance_lookup import LookupContext, LookupUser, get_resolver


def told(lookup):
    names = {thread.name for thread in threading.enumerate()}
    return {
        "instance": lookup.config.instance_id,
        "bucket": lookup.config.r2_bucket,
        "source": str(lookup.source),
        "near_hits": get_resolver().get_cache_stats().near_hits,
        "pid": os.getpid(),
        "threads": sorted(name for name in names if name.startswith("instance-lookup")),
    }


def look_up(instance_id):
    return told(get_resolver().resolve(LookupContext(LookupUser.service(), instance_id)))
"""
VIEWS = """
from django.http import JsonResponse
from mysite.told import told


def where(request):
    return JsonResponse(told(request.instance_lookup))


async def awhere(request):
    await request.ainstance_config()
    return JsonResponse(told(request.instance_lookup))
"""
URLS = """
from mysite import views

urlpatterns += [path("where/", views.where), path("awhere/", views.awhere)]
"""
EARLY = """
from mysite.wsgi import application
from mysite.told import look_up

look_up("acme")
assert look_up("acme")["threads"], "nothing listens before the fork"
"""
"""For ``mysite.early``: it looks up as it is loaded, twice, so that a thread listens."""
CELERY = """
import os

from celery import Celery

app = Celery("mysite", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])


@app.task(name="where")
def where(instance_id):
    from mysite.told import look_up

    return look_up(instance_id)
"""
FILES = {
    "settings.py": SETTINGS,
    "users.py": USERS,
    "told.py": TOLD,
    "views.py": VIEWS,
    "urls.py": URLS,
    "early.py": EARLY,
    "celery.py": CELERY,
}

_FORGOTTEN = "del _active[get_ident()]"
"""In a traceback of gevent: a thread of the master ends in a worker as well, where Python does not
know it any more."""


class ServedSite:
    """The site, with the files of the page. Each process of it writes the file ``log``."""

    def __init__(self, directory: Path, service: Service, redis: RedisServer) -> None:
        self.service, self.redis = service, redis
        self.log = directory / "log"
        self.directory = directory / "site"
        self.directory.mkdir()
        Site(self.directory, _files_of_the_page())
        for name, text in FILES.items():
            with (self.directory / "mysite" / name).open("a", encoding="utf-8") as file:
                file.write(text)
        self.environ = {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self.directory}",
            "CONFIG_SERVICE_URL": service.url,
            "REDIS_URL": redis.url(),
            "BROKER_URL": redis.url(1),
            "GUNICORN_CMD_ARGS": "--no-control-socket",  # it is one file for all of a user's
        }
        redis.command("FLUSHALL")

    @contextmanager
    def run(self, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program of this environment in the folder of the site. It prints no traceback."""
        name, *options = words
        program = [str(Path(sys.executable).with_name(name.replace("uwsgi", "pyuwsgi")))]
        with tempfile.TemporaryDirectory() as folder:
            if name == "mod_wsgi-express":
                program = [*as_unprivileged(Path(folder)), *program]
                options += ["--server-root", folder, "--log-to-terminal"]
            with started(
                options, self.log, self.environ, program=program, cwd=self.directory
            ) as process:
                yield process
        printed = self.log.read_text(encoding="utf-8")
        assert printed.count("Traceback") == printed.count(_FORGOTTEN), printed

    @contextmanager
    def working(self, words: Sequence[str]) -> Iterator[Worker]:
        """Run a Celery worker by a command of the page."""
        broker = self.redis.url(1)
        with Celery(broker=broker, backend=broker) as app, self.run(words) as process:
            yield Worker(app, process, self.log)

    @contextmanager
    def served(self, words: Sequence[str]) -> Iterator[Served]:
        """Serve it by a command of the page, on a free port in place of 8000."""
        port = str(free_port())
        with self.run([word.replace("8000", port) for word in words]) as process:
            served = Served(f"http://127.0.0.1:{port}", process, self.log)
            wait_until(served.is_up, 60)
            yield served


@dataclass
class Served:
    """A server that runs: its address, its first process, and what it prints."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, instance_id: str | None, path: str = "where") -> requests.Response:
        """Ask on a connection of its own."""
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Connection": "close"}
            if instance_id:
                headers["X-Instance-ID"] = instance_id
            return session.get(f"{self.url}/{path}/", headers=headers, timeout=60)

    def ask(self, *instance_ids: str, path: str = "where") -> list[Any]:
        """Ask for all of them at the same time, and return what each answer tells."""
        with ThreadPoolExecutor(len(instance_ids)) as pool:
            answers = [*pool.map(lambda instance_id: self.get(instance_id, path), instance_ids)]
        assert {answer.status_code for answer in answers} == {200}, self.log.read_text()
        return [answer.json() for answer in answers]

    def is_up(self) -> bool:
        """Whether it answers. No instance is named, so nothing is looked up."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get(None).status_code == 400
        except requests.ConnectionError:
            return False


@dataclass
class Worker:
    """A Celery worker that runs: an app that publishes to it, its first process, its log."""

    app: Celery
    process: subprocess.Popen[bytes]
    log: Path

    def send(self, instance_id: str) -> Any:
        """Have a task look an instance up; return what the result is read from."""
        return self.app.send_task("where", [instance_id])

    def ask(self, *instance_ids: str) -> list[Any]:
        """Have a task for each look it up, and return what they tell."""
        sent = [self.send(instance_id) for instance_id in instance_ids]
        return [each.get(timeout=60, interval=0.01) for each in sent]


def connections(pid: int, port: int) -> int:
    """Return how many connections a process has to a port of this machine."""
    return sum(
        bool(each.raddr) and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in psutil.Process(pid).net_connections("tcp")
    )


def _files_of_the_page() -> list[Block]:
    return [block for block in blocks(PAGE) if block.file]
