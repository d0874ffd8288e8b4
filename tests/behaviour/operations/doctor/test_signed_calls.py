"""What is found about the credential where the session signs each call."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import pytest
from requests.auth import AuthBase

from instance_lookup.backends.http import HttpConfigService
from tests.behaviour.operations.doctor.support import TOKEN, as_json, examined
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings
    from requests import PreparedRequest, Session

    from tests.behaviour.operations.doctor.support import Rule, Service
    from tests.support.servers import Received, Script


def signature(path: str) -> str:
    return f"Signed {hmac.digest(TOKEN.encode(), path.encode(), 'sha256').hex()}"


class Sign(AuthBase):
    """Signs the path, as Signature Version 4 signs a call."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = signature(request.path_url)
        return request


class SignedConfigService(HttpConfigService):
    """A backend whose session signs, and has no header of its own."""

    def make_session(self) -> Session:
        session = super().make_session()
        session.auth = Sign()
        return session


@pytest.fixture
def signed(service: Service, settings: Settings) -> Service:
    """A service that answers signed calls only."""
    settings.INSTANCE_LOOKUP = {
        **settings.INSTANCE_LOOKUP,
        "CONFIG_SERVICE_TOKEN": None,
        "CONFIG_SERVICE_BACKEND": SignedConfigService,
    }
    service.rule = answer_to_signed(service, 401)
    return service


def answer_to_signed(service: Service, refusal: int) -> Rule:
    def rule(request: Received) -> Script:
        if request.headers["Authorization"] != signature(request.path):
            return Answer(refusal, b"{}", {"Content-Type": "application/json"})
        name = request.path.rpartition("/")[2]
        return as_json(service.instances[name]) if name in service.instances else Answer(404)

    return rule


def test_signed_calls_are_tried_with_a_wrong_credential(signed: Service) -> None:
    """A session that signs sends an Authorization header, so a wrong one is tried."""
    found = examined("acme", deep=True)
    assert found["credential"].seen == "accepted"
    assert found["no credential"].seen == found["wrong credential"].seen == "refused (401)"


def test_unsigned_calls_that_are_accepted(signed: Service) -> None:
    """A service that never looks at the signature is to be mended."""
    signed.rule = lambda request: as_json(signed.instances["acme"])
    found = examined("acme", deep=True)["wrong credential"]
    assert (found.level, found.seen) == ("warning", "accepted: the answer is 200")


@pytest.mark.parametrize("refusal", [401, 403])
def test_signature_that_is_not_accepted(signed: Service, refusal: int) -> None:
    """What to check is what signs and its clock, not a token that the site does not have."""
    signed.rule = lambda request: Answer(refusal, b"{}", {"Content-Type": "application/json"})
    finding = examined("acme")["credential"]
    assert finding.level in {"warning", "error"}
    assert "Check session.auth" in finding.do
    assert "clock" in finding.do
    assert "CONFIG_SERVICE_TOKEN" not in finding.do
