"""Credentials that are made for each call: tokens that expire, signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.servers import Answer, Received, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integrations.recipe import Recipe

DOCUMENT = json.dumps({"instance_id": "acme", "metadata": {"owner": "1"}}).encode()
OTHER = DOCUMENT.replace(b"acme", b"initech")
THIRD = DOCUMENT.replace(b"acme", b"third")
CLIENT, PASSWORD = "site", "client-very-secret"
KEY_ID, KEY = "AKIDEXAMPLE", "aws-very-secret"


def documents(request: Received) -> Answer:
    known = {"acme": DOCUMENT, "initech": OTHER, "third": THIRD}
    name = urlsplit(request.path).path.rpartition("/")[2]
    return Answer(200, known[name]) if name in known else Answer(404)


class Issuer(ScriptedServer):
    """Gives out numbered tokens for the client's credentials."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.given = 0
        self.is_broken = False

    def _answer(self, request: Received) -> Answer:
        sent = (request.headers["Authorization"] or "").removeprefix("Basic ")
        if self.is_broken or b64decode(sent) != f"{CLIENT}:{PASSWORD}".encode():
            return Answer(500, b"token-very-secret")
        self.given += 1
        token = {"access_token": f"token-very-secret-{self.given}", "expires_in": 3600}
        return Answer(200, json.dumps(token).encode())


@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_access_tokens(build: Callable[..., Recipe], asgi: bool) -> None:
    """One token serves until it is refused; then one more is fetched, and the call succeeds."""
    accepted = {1, 2}

    def answer(request: Received) -> Answer:
        allowed = {f"Bearer token-very-secret-{number}" for number in accepted}
        return documents(request) if request.headers["Authorization"] in allowed else Answer(401)

    with Issuer() as issuer, ScriptedServer(answer) as service:
        recipe = build(
            "access-tokens",
            CONFIG_SERVICE_URL=service.url,
            CONFIG_TOKEN_URL=f"{issuer.url}/token",
            CONFIG_CLIENT_ID=CLIENT,
            CONFIG_CLIENT_SECRET=PASSWORD,
        )
        recipe.seed()
        with recipe.served(asgi=asgi) as visit:
            assert visit("where/", user="olga").json() == {"instance": "acme"}
            assert visit("where/", user="sam").status_code == 403
            assert issuer.given == 1
            accepted.remove(1)
            assert visit("where/", "initech", user="olga").status_code == 200
            assert issuer.given == 2
            accepted.clear()
            issuer.is_broken = True
            assert visit("where/", "third", user="olga").status_code == 503
            assert visit("where/", user="olga").status_code == 200  # in the cache
            accepted.add(issuer.given + 1)
            issuer.is_broken = False
            # It finds one thing to mend: the cache of this site is in the memory of each process.
            said = recipe.run("manage.py", "check_config_service", succeeds=False)
    posted = issuer.received[0]
    assert (posted.method, posted.path) == ("POST", "/token")
    # The token goes to the service alone, and the client's credentials to the issuer alone.
    assert all(each.headers["Authorization"].startswith("Bearer ") for each in service.received)
    assert [each.headers["Authorization"][-1] for each in service.received][:4] == [*"1122"]
    assert re.search(r"ok +credential +accepted", said)
    assert "1 warning, 0 errors" in said
    assert "credential (no access token: HTTPError)" in recipe.log
    assert "very-secret" not in recipe.log


@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_signature(build: Callable[..., Recipe], asgi: bool) -> None:
    """The service works out the same signature, over who asks as well."""
    wrong: list[Received] = []
    gateway = {"x-amzn-ErrorType": "InvalidSignatureException"}

    def answer(request: Received) -> Answer:
        if request.headers["Authorization"] != signature(request):
            wrong.append(request)
        if request.path.endswith("/third"):
            return Answer(403, b"{}", gateway)
        return Answer(403, b"{}") if request.path.endswith("/fourth") else documents(request)

    with ScriptedServer(answer) as service:
        recipe = build(
            "signed-calls",
            CONFIG_SERVICE_URL=f"{service.url}/stage",
            AWS_ACCESS_KEY_ID=KEY_ID,
            AWS_SECRET_ACCESS_KEY=KEY,
            AWS_SESSION_TOKEN="session-very-secret",
        )
        recipe.seed()
        with recipe.served(asgi=asgi) as visit:
            assert visit("where/", user="olga").json() == {"instance": "acme"}
            assert visit("where/", "initech", user="olga").status_code == 200
            assert visit("where/", "gone", user="olga").status_code == 404
            # A 403 of the gateway is an outage, one of the service is about the user.
            assert visit("where/", "third", user="olga").status_code == 503
            assert visit("where/", "fourth", user="olga").status_code == 403
        assert wrong == []
    request = service.received[0]
    assert request.headers["X-Amz-Security-Token"] == "session-very-secret"
    signed = request.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert {"host", "x-amz-date", "x-request-id", "x-user-id"} <= set(signed.split(";"))
    assert "very-secret" not in recipe.log
    request.headers.replace_header("X-User-ID", "2")
    assert request.headers["Authorization"] != signature(request)


def signature(request: Received) -> str:
    """Return what the header has to be, worked out from the request as AWS documents it."""
    scope, names = "eu-central-1/execute-api/aws4_request", ""
    if "SignedHeaders=" in (sent := request.headers["Authorization"] or ""):
        names = sent.partition("SignedHeaders=")[2].partition(",")[0]
    lines = [f"{name}:{request.headers[name]}" for name in names.split(";")]
    url = urlsplit(request.path)
    empty = hashlib.sha256(b"").hexdigest()
    canonical = "\n".join([request.method, url.path, url.query, *lines, "", names, empty])
    moment = request.headers["X-Amz-Date"] or ""
    day = moment[:8]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{KEY}".encode()
    for part in (day, *scope.split("/")):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{day}/{scope}\n{digest}"
    signed = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{KEY_ID}/{day}/{scope}"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signed}"
