"""Any document of the service: the config is what was sent, or the failure is a clear one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from django.core.cache import caches
from hypothesis import example, given
from hypothesis import strategies as st

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupResult,
    LookupUser,
    Source,
)
from instance_lookup.backends.base import Document
from instance_lookup.backends.memory import DictConfigService
from tests.properties.documents import Sent, configs, documents, json_values
from tests.properties.profile import tried
from tests.support.canary import CANARY, places

if TYPE_CHECKING:
    from instance_lookup.backends.base import Query
    from tests.support.lookups import Twin

ASKED = LookupContext(LookupUser.service(), instance_id="acme")
STORED = [
    pytest.param({}, id="open"),
    pytest.param({"compress_above": 10}, id="compressed"),
    pytest.param({"encryption_keys": [Fernet.generate_key().decode()]}, id="sealed"),
]


class Saying(DictConfigService):
    """Answers with these bytes, whatever is asked."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def get_instance(self, instance_id: str, query: Query) -> Document:
        self.calls.append(("get_instance", instance_id, query.user_id))
        return Document(self.body, None)


def resolver(body: bytes, **options: Any) -> InstanceResolver:
    """Return a resolver whose cache is empty and whose service says ``body``."""
    caches["default"].clear()
    return InstanceResolver(config_service_backend=Saying(body), **options)


def asked(body: bytes, call: Twin) -> LookupResult | InstanceLookupError:
    """Look up an instance of which the service says ``body``."""
    try:
        result: LookupResult = call(resolver(body), "resolve", ASKED)
    except InstanceLookupError as error:
        return error
    return result


def assert_clear(error: InstanceLookupError) -> None:
    """Check that the failure is of a documented kind, names the instance, and shows no key."""
    assert isinstance(error, ConfigServiceUnavailable | InstanceNotFound)
    assert "acme" in str(error)
    assert [place for place in places(error) if __name__.rpartition(".")[2] not in place] == []


@pytest.mark.parametrize("options", STORED)
@tried(25)
@given(sent=configs)
def test_config_is_what_was_sent(sent: Sent, call: Twin, options: dict[str, Any]) -> None:
    """A document that is taken is the config, at once and out of the cache, field by field."""
    asking = resolver(json.dumps(sent.value).encode(), **options)
    fetched = call(asking, "resolve", ASKED)
    again = call(asking, "resolve", ASKED)
    assert fetched.config == sent.becomes == again.config
    assert dict(fetched.config.api_keys) == dict(sent.becomes.api_keys)
    assert (fetched.source, again.source) == (Source.SERVICE, Source.CACHE)


@tried(25)
@given(document=documents | json_values)
@example(document={"instance_id": "acme", "api_keys": {"render": CANARY}, "rate_limits": [CANARY]})
@example(document={"instance_id": "acme", "api_keys": {"render": [CANARY]}})
@example(document={"instance_id": "ACME", "api_keys": {"render": CANARY}})
def test_any_document(document: Any, call: Twin) -> None:
    """Any JSON is the config of the instance that was asked for, or a clear failure."""
    result = asked(json.dumps(document).encode(), call)
    if isinstance(result, InstanceLookupError):
        assert_clear(result)
    else:
        assert result.config.instance_id == "acme" == document["instance_id"]
        assert dict(result.config.api_keys) == document.get("api_keys", {})


@tried(25)
@given(
    document=documents,
    noise=st.binary(max_size=5),
    at=st.floats(0, 1, exclude_max=True),
    cut=st.integers(0, 5),
)
def test_any_damage(document: Any, noise: bytes, at: float, cut: int, call: Twin) -> None:
    """A body with bytes put in, left out or overwritten is one of the two as well."""
    body = json.dumps(document, ensure_ascii=False).encode()
    place = int(len(body) * at)
    result = asked(body[:place] + noise + body[place + cut :], call)
    if isinstance(result, InstanceLookupError):
        assert_clear(result)
    else:
        assert result.config.instance_id == "acme"


@tried(25)
@given(body=st.binary().map(CANARY.encode().__add__) | st.binary())
def test_any_bytes(body: bytes, call: Twin) -> None:
    """Any bytes for a body are a clear failure."""
    result = asked(body, call)
    assert isinstance(result, InstanceLookupError)
    assert_clear(result)
