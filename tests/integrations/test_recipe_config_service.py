"""Recipes for Config Services that are reached, or that answer, in another way."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from tests.sandbox.service import TOKEN, start_config_service
from tests.support.servers import Answer, Received, ScriptedServer, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integrations.recipe import Recipe

DOCUMENT = {"instance_id": "acme", "metadata": {"owner": "1", "name": "Acme"}}
JSON = {"Content-Type": "application/json"}


def as_json(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), JSON)


def test_proxy_of_a_service_with_tls(build: Callable[..., Recipe], tmp_path: Path) -> None:
    """The proxy sees a tunnel, its own credentials, and nothing of what is said in it."""
    ca = trustme.CA()
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    once = Answer(200, json.dumps(DOCUMENT).encode(), {"Connection": "close"})
    with (
        ScriptedServer(once, tls=server_context(ca)) as service,
        ScriptedServer(tunnel(service.port)) as proxy,
    ):
        recipe = build(
            "proxy",
            CONFIG_SERVICE_URL=service.url,
            CONFIG_SERVICE_PROXY=proxy.url.replace("://", "://site:p%40ss@"),
            CONFIG_SERVICE_TOKEN="token-very-secret",
            CONFIG_SERVICE_CA_BUNDLE=str(bundle),
            HTTPS_PROXY="http://127.0.0.1:9",
            NO_PROXY="*",
        )
        recipe.seed()
        with recipe.served() as visit:
            assert visit("where/", user="olga").json() == {"instance": "acme"}
            assert visit("where/", user="sam").status_code == 403
            [connect], [request] = proxy.received, service.received
            proxy.answers = Answer(407)
            assert visit("where/", "initech", user="olga").status_code == 503
    assert connect.method == "CONNECT"
    sent = connect.headers["Proxy-Authorization"].removeprefix("Basic ")
    assert b64decode(sent) == b"site:p@ss"
    assert connect.headers["Authorization"] is None
    assert request.headers["Authorization"] == "Bearer token-very-secret"
    assert request.headers["Proxy-Authorization"] is None
    assert f"407 at the proxy 127.0.0.1:{proxy.port}" in recipe.log
    assert not any(secret in recipe.log for secret in ("p%40ss", "p@ss", "very-secret"))


def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


def forward(request: Received) -> Answer:
    """Do what a proxy does with a request for a whole URL: pass it on, and the answer back."""
    dropped = {"host", "connection", "proxy-authorization"}
    headers = {name: text for name, text in request.headers.items() if name.lower() not in dropped}
    with requests.Session() as session:
        session.trust_env = False
        got = session.get(request.path, headers=headers, allow_redirects=False, timeout=30)
    kept = {name: got.headers[name] for name in ("Content-Type", "ETag") if name in got.headers}
    return Answer(got.status_code, got.content, kept)


def test_proxy_of_the_reference_service(build: Callable[..., Recipe], tmp_path: Path) -> None:
    """The reference Config Service answers through a proxy that is asked for whole URLs."""
    owners = {"SANDBOX_OWNER_ID": "1", "SANDBOX_OTHER_OWNER_ID": "2"}
    data_dir = tmp_path / "service"
    data_dir.mkdir()
    with (
        start_config_service(data_dir, env=owners) as service,
        ScriptedServer(forward) as proxy,
    ):
        recipe = build(
            "proxy",
            CONFIG_SERVICE_URL=service.url,
            CONFIG_SERVICE_PROXY=proxy.url,
            CONFIG_SERVICE_TOKEN=TOKEN,
        )
        recipe.seed()
        with recipe.served(asgi=True) as visit:
            assert visit("where/", "studio-a", user="olga").json() == {"instance": "studio-a"}
            assert visit("where/", "studio-a", user="sam").status_code == 403
            of_project = {"X-Project-ID": "film-42"}
            assert visit("where/", None, user="olga", headers=of_project).status_code == 200
            assert visit("where/", "nothing", user="olga").status_code == 404
            proxy.stop()
            assert visit("where/", "studio-b", user="sam").status_code == 503
    assert {each.path.startswith(f"{service.url}/") for each in proxy.received} == {True}


@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_envelope(build: Callable[..., Recipe], asgi: bool) -> None:
    """Fields are renamed, keys of maps are not, and an error with 200 is no document."""
    fields = {
        "instanceId": "acme",
        "apiKeys": {"openAi": "sk-very-secret"},
        "rateLimits": {"bigRender": {"rpm": 60, "rpmBurst": 90}},
        "workerUrls": None,
        "r2Bucket": "acme-assets",
        "metadata": {"owner": "1", "tenantId": "blue", "createdAt": "2026-01-01T00:00:00Z"},
        "features": {"newEditor": True},
    }
    envelope = {"data": fields, "meta": {"servedBy": "b"}}
    project = {"data": {"projectId": "web", "instanceId": "acme"}}
    answers = {
        "/instances/acme": as_json(envelope),
        "/projects/web": as_json(project),
        "/instances/broken": as_json({"error": "sk-very-secret"}),
    }
    with ScriptedServer(answers) as service:
        recipe = build("envelope", CONFIG_SERVICE_URL=service.url)
        recipe.seed()
        with recipe.served(asgi=asgi) as visit:
            assert visit("where/", user="olga").json() == {"instance": "acme"}
            of_project = {"X-Project-ID": "web"}
            assert visit("where/", None, user="olga", headers=of_project).status_code == 200
            assert visit("where/", "broken", user="olga").status_code == 503
            assert visit("where/", "gone", user="olga").status_code == 404
        made = recipe.run(
            "-c",
            "import json, django; django.setup()\n"
            "from instance_lookup import LookupContext, LookupUser, resolve_instance\n"
            "c = resolve_instance(LookupContext(LookupUser.service(), instance_id='acme'))\n"
            "m = c.metadata\n"
            "print(json.dumps([dict(c.api_keys), c.rate_limits['bigRender'].rpm_burst,"
            " c.r2_bucket, m.tenant_id, dict(c.features), bool(m.created_at)]))",
        )
    keys, *others = json.loads(made)
    assert keys == {"openAi": "sk-very-secret"}
    assert others == [90, "acme-assets", "blue", {"newEditor": True}, True]
    assert "KeyError in EnvelopeConfigService.parse" in recipe.log
    assert "sk-very-secret" not in recipe.log


def test_other_paths(build: Callable[..., Recipe]) -> None:
    """Instances, projects and the list are asked for where they are."""

    def answer(request: Received) -> Answer:
        if request.path == "/api/v2/tenants":
            return as_json({"instances": ["acme"]})
        if request.path == "/api/v2/sites/web/tenant":
            return as_json({"project_id": "web", "instance_id": "acme"})
        if request.path == "/api/v2/tenants/acme/config":
            return as_json(DOCUMENT)
        return as_json({}, 404)

    with ScriptedServer(answer) as service:
        recipe = build("other-paths", CONFIG_SERVICE_URL=f"{service.url}/api")
        recipe.seed()
        with recipe.served() as visit:
            of_project = {"X-Project-ID": "web"}
            answered = visit("where/", None, user="olga", headers=of_project)
            assert answered.json() == {"instance": "acme"}
            assert visit("where/", "gone", user="olga").status_code == 404
            assert visit("where/", "../acme", user="olga").status_code == 400
        assert "1" in recipe.run("manage.py", "warm_instance_cache", "--all")
    paths = [request.path.removeprefix("/api/v2/") for request in service.received]
    assert paths == [
        "sites/web/tenant",
        "tenants/acme/config",
        "tenants/gone/config",
        "tenants",
        "tenants/acme/config",
    ]
