"""The pages in docs/operations about explanations and the log: what they show works."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import load_command_class

from instance_lookup import AccessDenied, LookupContext, LookupUser, get_resolver
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.context import RequestMetadata
from tests.behaviour.commands.support import run
from tests.support.documents import ACME, ROOT

pytestmark = pytest.mark.django_db

EXPLAIN, LOGGING = (
    (ROOT / "docs" / "operations" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("explain", "logging")
)
SITE = """
import logging
import django
from django.conf import settings
from tests import settings as ours
{logging}
options = {{name: value for name, value in vars(ours).items() if name.isupper()}}
settings.configure(**{{**options, "LOGGING": LOGGING, "ALLOWED_HOSTS": ["*"]}})
django.setup()
from django.test import Client
logging.getLogger("site").warning("at start")
Client().get("/plain", headers={{"x-request-id": "r-1", "x-instance-id": "acme"}})
"""


def python_of(page: str) -> str:
    """Return the blocks of Python of a page, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


@pytest.fixture
def bob(settings: Any) -> User:
    """Is recorded as the owner by name."""
    acme = ACME | {"metadata": {"owner": "bob"}}
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": DictConfigService({"acme": acme})}
    return User.objects.create_user("bob", pk=7)


def test_example_of_an_explanation(bob: User) -> None:
    """The command of the page prints its tree, its answer and its hint."""
    (command,) = re.findall(r"^\$ python manage\.py (explain_.*)$", EXPLAIN, re.MULTILINE)
    name, *arguments = shlex.split(command)
    ran = run(name, *arguments, "--ask")
    shown = EXPLAIN.partition("\nPolicy\n")[2].partition("CommandError")[0]
    assert ran.out.partition("\nPolicy\n")[2] == shown
    assert ran.code == 2


def test_options_of_the_page_are_all(bob: User) -> None:
    """The page names each option of the command, and no other one."""
    parser = load_command_class("instance_lookup", "explain_instance_lookup").create_parser("", "")
    usage = EXPLAIN.partition("\n    explain_instance_lookup")[2].partition("```")[0]
    ours = {"--user", "--anonymous", "--header", "--path", "--instance", "--project", "--ask"}
    assert set(re.findall(r"--\w+", usage)) == ours | {"--format"}
    assert ours <= set(parser._option_string_actions)


def test_explanation_from_python(bob: User) -> None:
    """The Python of the page runs."""
    names: dict[str, Any] = {}
    exec(python_of(EXPLAIN), names)
    assert names["told"].ending.status is None
    assert get_resolver().get_cache_stats().misses == 0


def test_logging_of_the_page() -> None:
    """A site with the LOGGING of the page has refusals, with request and instance on the lines."""
    program = SITE.format(logging=python_of(LOGGING))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr.splitlines() == [
        "WARNING site request=- instance=- at start",
        "INFO instance_lookup.access request=r-1 instance=- Refused any instance to user None"
        " (request 'r-1'): ALLOW_ANONYMOUS is off",
        "WARNING django.request request=r-1 instance=- Forbidden: /plain",
    ]


def test_refusal_lines_of_the_page(bob: User, caplog: pytest.LogCaptureFixture) -> None:
    """What the page shows of a refusal by the policy and by a block is what the log has."""
    resolver, shown = get_resolver(), re.findall(r"^    (Refused .*)$", LOGGING, re.MULTILINE)
    context = LookupContext(
        LookupUser("7"), "acme", request_metadata=RequestMetadata(request_id="r-1")
    )
    with caplog.at_level(logging.INFO, "instance_lookup.access"):
        for prepare in (lambda: None, lambda: resolver.block_instance("acme", 60)):
            prepare()
            with pytest.raises(AccessDenied):
                resolver.resolve(context)
    said = [each.message for each in caplog.records if each.name == "instance_lookup.access"]
    assert said == [shown[0], shown[2]]
