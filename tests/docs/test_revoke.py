"""docs/how-to/revoke.md: what each way of revoking leaves, and the exit codes of the command."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from instance_lookup import InstanceLookupError, LookupContext, LookupUser, get_resolver
from tests.support.documents import config_service, table
from tests.support.servers import Answer

PAGE = "revoke.md"
OWNER = LookupContext(LookupUser("1"), instance_id="acme")


def outcome() -> str:
    try:
        return get_resolver().resolve(OWNER).source.value
    except InstanceLookupError as exc:
        return str(exc.status_code)


@pytest.mark.parametrize(("column", "options"), [(1, []), (2, ["--expire"])])
def test_table_of_revocation(column: int, options: list[str]) -> None:
    """The table says what each way of revoking leaves for an outage."""
    _, then, outage = (row[column] for row in table(PAGE, "Command"))
    assert then == "asks the service"
    with (
        config_service() as service,
        override_settings(INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": service.url}),
    ):
        assert outcome() == "service"
        call_command("invalidate_instance_cache", "acme", *options)
        service.answers = Answer(503)
        assert outcome() == {"503": "503", "the old copy": "stale_cache"}[outage]


@pytest.mark.parametrize(("arguments", "code"), [("", 1), ("a*", 2), ("--all --no-input", 4)])
def test_exit_codes_of_revocation(arguments: str, code: int) -> None:
    """A script can tell "not done" from "done"; a failing cache is in the commands' own tests."""
    with pytest.raises(CommandError) as caught:
        call_command("invalidate_instance_cache", *arguments.split())
    assert caught.value.returncode == code
    assert str(code) in [row[0] for row in table(PAGE, "Code")]
