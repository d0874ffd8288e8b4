"""Warming in a process of its own: exit codes, streams, signals, terminals as a shell has them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from tests.behaviour.commands.support import TOKEN
from tests.support.servers import Fault, mute

if TYPE_CHECKING:
    from tests.behaviour.commands.support import ConfigService, Site
    from tests.support.servers import Received, Script

WARM = "warm_instance_cache"


def configure(site: Site, service: ConfigService, **options: Any) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": str(site.directory / "cache")}}
    lookup = {"CONFIG_SERVICE_URL": service.server.url, "CONFIG_SERVICE_TOKEN": TOKEN, **options}
    site.configure(CACHES=caches, INSTANCE_LOOKUP=lookup)


def test_warm_process_reads_stdin_and_separates_streams(site: Site, service: ConfigService) -> None:
    """In a pipe ids come from standard input, the object goes to stdout, the rest to stderr."""
    configure(site, service)
    done = site.run(WARM, "--file", "-", "--format", "json", text=b"acme\nunknown\n")
    assert done.code == 2
    assert done.json["warmed"] == ["acme"]
    assert done.err.rstrip().endswith("CommandError: 1 of 2 failed: unknown.")
    assert "\r" not in done.err


def test_warm_process_mistyped_option_leaves_with_1(site: Site, service: ConfigService) -> None:
    """A typing error is not taken for "some failed", which is 2."""
    configure(site, service)
    done = site.run(WARM, "acme", "--concurency", "3")
    assert (done.code, done.out) == (1, "")
    assert "unrecognized arguments" in done.err


def test_warm_process_interrupted_tells_what_was_done(site: Site, service: ConfigService) -> None:
    """Ctrl-C waits for nothing, and tells what was done so far."""
    configure(site, service, CONFIG_SERVICE_TIMEOUT=60)
    begun = threading.Event()

    def hang(_sock: object, stopped: threading.Event) -> None:
        begun.set()
        stopped.wait()

    def answer(request: Received) -> Script:
        if request.path == "/instances/globex":
            return mute()
        return Fault(hang) if request.path == "/instances/initech" else service.answer(request)

    service.server.answers = answer
    ids = ["acme", "globex", "initech"]  # the third is begun when the first is done
    with site.start(WARM, *ids, "--concurrency", "2", "--format", "json") as process:
        assert begun.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out) == {
        "warmed": ["acme"], "failed": [], "list_error": None, "interrupted": True
    }  # fmt: skip
    assert b"Traceback" not in err


def test_warm_terminal_shows_progress(site: Site, service: ConfigService) -> None:
    """On a terminal a progress bar is drawn, failures stay readable, and the bar is removed."""
    configure(site, service)
    master, slave = pty.openpty()
    with site.start(WARM, "acme", "unknown", "--no-color", stderr=slave) as process:
        os.close(slave)
        shown = read_terminal(master)
        out, _ = process.communicate(timeout=60)
    assert out == b"Warmed 1 of 2 instances.\n"
    assert "] 1/2" in shown
    assert f"[{'#' * 30}] 2/2, 1 failed" in shown
    lines = [line.rsplit("\r")[-1] for line in shown.replace("\r\n", "\n").splitlines()]
    assert any(line.startswith("unknown: INSTANCE_NOT_FOUND: ") for line in lines)
    assert lines[-1] == "CommandError: 1 of 2 failed: unknown."


def test_warm_terminal_without_total_counts(site: Site, service: ConfigService) -> None:
    """Where the total is not known, a count is shown and no progress bar."""
    configure(site, service)
    master, slave = pty.openpty()
    with site.start(WARM, "--all", stderr=slave, stdout=subprocess.DEVNULL) as process:
        os.close(slave)
        shown = read_terminal(master)
    assert process.returncode == 0
    assert "3 done" in shown
    assert "#" not in shown


def read_terminal(master: int) -> str:
    data = b""
    try:
        while chunk := os.read(master, 65536):
            data += chunk
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(master)
    return data.decode()
