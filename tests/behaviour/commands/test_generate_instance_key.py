"""``generate_instance_key``: one key on standard output, and nothing else anywhere."""

from __future__ import annotations

import base64
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import override_settings

from instance_lookup.cache.codec import Codec
from instance_lookup.conf import build_settings, validators


def generated() -> str:
    output, errors = StringIO(), StringIO()
    call_command("generate_instance_key", stdout=output, stderr=errors)
    assert errors.getvalue() == ""
    return output.getvalue()


def test_key_alone() -> None:
    """Standard output is the key and a line break, so that a shell can take it as it is."""
    line = generated()
    assert line == f"{line.strip()}\n"
    assert len(base64.urlsafe_b64decode(line.strip())) == 32
    assert validators.encryption_keys([line.strip()]) is None
    assert generated() != line


@pytest.mark.extras
def test_key_seals() -> None:
    """The key is one that ENCRYPTION_KEYS takes, and what it seals opens with it."""
    codec = Codec(build_settings({"encryption_keys": [generated().strip()]}))
    assert codec.decode(codec.encode(b"{}", "key"), "key") == b"{}"


@pytest.mark.parametrize("wrong", [None, {"ENCRYPTION_KEYS": [""]}, {"CACHE_ALIAS": "none"}])
def test_key_for_a_site_that_is_not_set_up_yet(wrong: object) -> None:
    """The first key can be made by a site whose settings are still wrong, or lack it."""
    with override_settings(INSTANCE_LOOKUP=wrong):
        assert len(generated()) == 45
