from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup.management.commands.check_config_service import Command
from tests.behaviour.commands.support import SECRET, TOKEN, ConfigService, json_answer, run
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import Settings

COMMAND = "check_config_service"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def site(service: ConfigService, settings: Settings, tmp_path: Path) -> ConfigService:
    """A site on which nothing is to mend, but that its service takes anything."""
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    cache = {"BACKEND": backend, "LOCATION": str(tmp_path)}
    settings.CACHES = {**settings.CACHES, "instances": cache}
    patient = {"CONFIG_SERVICE_TIMEOUT": 30.0, "SOFT_TIMEOUT": 15.0, "CACHE_ALIAS": "instances"}
    identifiers = ["instance_lookup.identifiers.HeaderIdentifier"]
    settings.INSTANCE_LOOKUP |= {**patient, "IDENTIFIERS": identifiers}
    return service


def test_service_that_is_right(site: ConfigService) -> None:
    """All is right: 0, a line for each probe and one for all."""
    done = run(COMMAND)
    assert (done.code, done.err) == (0, "")
    assert "ok       document         of 'acme': valid\n" in done.out
    assert done.out.endswith(" ok, 0 warnings, 0 errors, 12 skipped\n")


def test_something_to_mend(site: ConfigService) -> None:
    """Something to mend: 1, its name on standard error, and below it what to do."""
    done = run(COMMAND, "--deep")
    assert (done.code, done.err) == (
        1,
        "There is something to correct: no credential, wrong credential.",
    )
    assert f"{' ' * 26}-> Answer it with 401: " in done.out


def test_it_would_not_work(site: ConfigService) -> None:
    """It would not work: 2, whatever else is to mend."""
    site.scripts["/instances/acme"] = json_answer({"instance_id": "acme", "r2_bucket": 7})
    done = run(COMMAND, "--deep")
    assert (done.code, done.err) == (2, "It would not work: document, all documents.")


def test_instance_is_named(site: ConfigService) -> None:
    """--instance is the one that is looked at."""
    site.scripts["/instances/globex"] = Answer(404, b"{}", JSON)
    assert run(COMMAND, "--instance", "globex").code == 2
    assert run(COMMAND, "--instance", "initech").code == 0


def test_json(site: ConfigService) -> None:
    """One object with the code and all findings, also where the command fails."""
    done = run(COMMAND, "--deep", "--format", "json")
    assert done.json["code"] == done.code == 1
    by_name = {finding["probe"]: finding for finding in done.json["findings"]}
    assert by_name["latency"]["figures"]["calls"] == 20
    assert by_name["no credential"]["level"] == "warning"


def test_service_is_down(site: ConfigService, caplog: pytest.LogCaptureFixture) -> None:
    """One error, the cache is looked at, and there is no traceback, in the log neither."""
    site.server.stop()
    done = run(COMMAND)
    assert not caplog.records
    assert (done.code, done.err) == (2, "It would not work: connect.")
    assert "skipped  document         see connect\n" in done.out
    assert "ok       round trip" in done.out


def test_lines_have_an_end(site: ConfigService) -> None:
    """No line is longer than a terminal of 100 columns."""
    site.server.stop()
    assert max(map(len, run(COMMAND).out.splitlines())) <= 100


def test_mistyped_option_leaves_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped option is not taken for "something to correct", which a CI may allow."""
    with pytest.raises(SystemExit) as caught:
        Command().run_from_argv(["manage.py", COMMAND, "--depp"])
    assert caught.value.code == 2
    assert "--depp" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_shown(form: str, site: ConfigService) -> None:
    """Neither the token nor a value of a configuration."""
    done = run(COMMAND, "--deep", "--format", form)
    assert not [word for word in (SECRET, TOKEN) if word in done.out + done.err]
