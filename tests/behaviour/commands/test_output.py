"""Commands whose output has lost its reader, as that of ``| head`` does."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from instance_lookup.management.output import Output
from tests.behaviour.commands.test_warm_processes import configure

if TYPE_CHECKING:
    from tests.behaviour.commands.support import ConfigService, Site


def run_unread(site: Site, *args: str) -> int:
    """Run a command of whose output and errors nothing is read; return its exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with site.start(*args, stdout=writing, stderr=subprocess.STDOUT) as process:
            return process.wait(timeout=60)
    finally:
        os.close(writing)


def test_work_goes_on_without_a_reader(site: Site, service: ConfigService) -> None:
    """All ids are invalidated though no line could be written, and the exit code is right."""
    configure(site, service)
    assert site.run("warm_instance_cache", "acme", "globex").code == 0
    assert run_unread(site, "invalidate_instance_cache", "no id", "?", "acme", "globex") == 2
    inspected = site.run("inspect_instance_cache", "acme", "globex", "--format", "json")
    assert [one["state"] for one in inspected.json["instances"]] == ["absent", "absent"]


@pytest.mark.parametrize("verb", ["write", "flush"])
def test_stream_without_a_reader(verb: str) -> None:
    """What is written to a pipe without a reader is lost, once and for all, without an error."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1 if verb == "write" else -1) as file:
        os.close(reading)
        output = Output(file)
        output.write("lost")
        assert output.reader_has_gone is (verb == "write")
        output.flush()
        assert output.reader_has_gone
        output.write("also lost")
        output.flush()
