from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.core.management import call_command
from django.test import override_settings
from django.urls import path

from instance_lookup import (
    InstanceResolver,
    LookupContext,
    LookupUser,
    get_resolver,
    resolve_instance,
)
from instance_lookup.backends.base import Query
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.resilience.deadline import Deadline
from tests.support.clients import log_in
from tests.support.documents import ACME, ROOT, SITE, Site, blocks, passed, section
from tests.support.servers import Answer, Received, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_django import DjangoCaptureOnCommitCallbacks

pytestmark = [pytest.mark.extras, pytest.mark.django_db]

HEADER = {"x-instance-id": "acme"}
AS_THE_SITE = LookupContext(LookupUser.service(), instance_id="acme")


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str, str], Site]:
    """Return the README's site with one section of a page added."""
    return lambda page, name: Site(tmp_path, [*blocks("README.md"), *section(page, name)])


def passed_by_pytest(site: Site) -> dict[str, int]:
    """Run the site's tests as pytest finds them, and return how many of each file passed."""
    options = ["-v", "-p", "no:cacheprovider", "-p", "no:valkey", "-c", os.devnull]
    options += ["--rootdir", ".", "--ds", "mysite.settings"]
    files = ["mysite/tests.py", "mysite/test_outage.py", "mysite/test_backend.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=site.directory,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site.directory}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return Counter(re.findall(r"(\w+\.py)::\S+ PASSED", done.stdout))


def test_page_about_testing(tmp_path: Path) -> None:
    """The examples of the page are tests, and pass on the site of the pages that it names."""
    site = Site(tmp_path, [*SITE, *blocks("testing.md")])
    assert passed(site) == 10
    assert passed_by_pytest(site) == {"tests.py": 10, "test_outage.py": 3, "test_backend.py": 12}


def test_identifiers(build: Callable[[str, str], Site]) -> None:
    """The query, the host and the URL name an instance, and must not disagree; a cookie is last."""
    with build("extending.md", "Identifiers").running():
        call_command("check")
        views, urls = import_module("mysite.views"), import_module("mysite.urls")
        urls.urlpatterns.append(path("of/<str:instance_id>/", lambda r, **_: views.where(r)))
        owner = log_in(pk=1)
        assert owner.get("/where/?instance=acme").status_code == 200
        assert owner.get("/of/acme/").status_code == 200
        host = {"host": "acme.example.com"}
        assert owner.get("/where/", headers=host).status_code == 200
        assert owner.get("/where/", headers=HEADER | {"host": "www.example.com"}).status_code == 200
        assert owner.get("/where/?instance=other", headers=host).status_code == 400
        assert owner.get("/where/?instance=", headers=HEADER).status_code == 400
        assert owner.get("/where/").status_code == 400
        owner.cookies["last_instance"] = "acme"
        assert owner.get("/where/").status_code == 200
        assert owner.get("/where/?instance=other").status_code == 404


def test_policies(build: Callable[[str, str], Site]) -> None:
    """A project's own policy lets in the users that it names, and the owner."""
    with build("extending.md", "Policies").running():
        call_command("check")
        support = log_in("sue", email="sue@support.example.com")
        assert support.get("/where/", headers=HEADER).status_code == 200
        assert log_in(pk=1).get("/where/", headers=HEADER).status_code == 200
        assert (
            log_in("sam", email="sam@example.com").get("/where/", headers=HEADER).status_code == 403
        )


def test_users(build: Callable[[str, str], Site]) -> None:
    """Owner, admin and tenants are what ``USER_CONTEXT`` says."""
    with build("extending.md", "Users").running():
        call_command("check")
        assert log_in("1", pk=7).get("/where/", headers=HEADER).status_code == 200
        assert log_in("sam", pk=1).get("/where/", headers=HEADER).status_code == 403
        assert log_in("ada", is_staff=True).get("/where/", headers=HEADER).status_code == 200
        member = User.objects.create_user("mia")
        member.groups.add(Group.objects.create(name="tenant:blue"), Group.objects.create(name="x"))
        assert import_module("mysite.users").user_context(member).tenant_ids == ["blue"]


def test_config_class(build: Callable[[str, str], Site]) -> None:
    """Fields of one's own are checked, frozen and there."""
    extra = {"region": "us", "prices": {"render": 0.5}, "branding": {"colours": ["red"]}}
    backend = DictConfigService({"acme": ACME | extra})
    with build("extending.md", "A configuration of your own").running():
        call_command("check")
        config: Any = resolve_instance(AS_THE_SITE, config_service_backend=backend)
        assert (config.region, config.branding.colours) == ("us", ("red",))
        with pytest.raises(TypeError, match="immutable"):
            config.prices["render"] = 0.0


def test_backend(build: Callable[[str, str], Site]) -> None:
    """A folder of files is a Config Service, for views and for commands."""
    site = build("extending.md", "Where configurations come from")
    folder = site.directory / "instances"
    folder.mkdir()
    (folder / "acme.json").write_text(json.dumps(ACME), encoding="utf-8")
    with site.running():
        call_command("check")
        call_command("warm_instance_cache", all=True)
        assert log_in(pk=1).get("/where/", headers=HEADER).status_code == 200
        assert log_in("sam").get("/where/", headers={"x-instance-id": "other"}).status_code == 404
        signing = import_module("mysite.signing").ApiKeyConfigService(url="http://127.0.0.1:9")
        with signing.make_session() as session:
            assert session.headers["X-Api-Key"] == "from your secret store"


def test_backend_of_another_shape(build: Callable[[str, str], Site]) -> None:
    """Other paths, an envelope and camelCase: asked, served, and kept by a 304 of the service."""
    acme = {
        "instanceId": "acme",
        "apiKeys": {"openAi": "k"},
        "rateLimits": {"render": {"rpm": 60, "rpmBurst": 90}},
        "metadata": {"owner": "1", "tenantId": "blue"},
    }
    film = {"filmId": "film", "instanceId": "acme"}
    site = build("extending.md", "Where configurations come from")

    def answer(request: Received) -> Answer:
        if request.headers["If-None-Match"]:
            return Answer(304)
        data = film if request.path == "/v2/films/film" else acme
        return Answer(200, json.dumps({"data": data}).encode(), {"ETag": '"7"'})

    with site.running(), ScriptedServer(answer) as server:
        backend = import_module("mysite.tenants").TenantsConfigService(url=server.url)
        resolver = InstanceResolver(config_service_backend=backend)
        config = resolver.resolve(LookupContext(LookupUser("1"), project_id="film")).config
        assert (config.api_keys, config.rate_limits["render"].rpm_burst) == ({"openAi": "k"}, 90)
        assert config.metadata.tenant_id == "blue"
        resolver.cache.expire("acme")
        assert resolver.resolve(AS_THE_SITE).source == "service"
        last = server.received[-1]
        assert (last.path, last.headers["If-None-Match"]) == ("/v2/tenants/acme", '"7"')
        server.answers = Answer(200, b'{"instances": ["acme"]}')
        assert backend.list_instances(Query(Deadline.after(5), "r")).instance_ids == ("acme",)
        assert server.received[-1].path == "/v2/tenants"


def test_signals(build: Callable[[str, str], Site], caplog: pytest.LogCaptureFixture) -> None:
    """A receiver hears who was refused what."""
    with build("extending.md", "Signals").running(), caplog.at_level(logging.WARNING, "audit"):
        import_module("mysite.receivers")
        log_in("sam", pk=5).get("/where/", headers=HEADER)
    assert "5 was refused acme" in caplog.text


def test_types(build: Callable[[str, str], Site]) -> None:
    """The views are those that ``mypy`` checks, to the letter, and work."""
    site, name = build("extending.md", "Types"), "mysite/typed_views.py"
    shown = (site.directory / name).read_text(encoding="utf-8").partition(f"# {name}\n")[2]
    checked = (ROOT / "tests" / "typing" / "views.py").read_text(encoding="utf-8")
    assert checked.endswith(f"\n\n{shown}")
    with site.running():
        views, urls = (vars(import_module(f"mysite.{name}")) for name in ("typed_views", "urls"))
        urls["urlpatterns"] += [
            *(path(f"typed/{name}/", views[name]) for name in ("name", "bucket", "mail")),
            path("typed/limits/", views["Limits"].as_view()),
        ]
        owner = log_in(pk=1, email="olga@example.com")
        names = ("name", "mail", "bucket", "limits")
        answers = [owner.get(f"/typed/{name}/", headers=HEADER).content for name in names]
    assert answers == [b"Acme", b"olga@example.com", b'{"bucket": ""}', b'{"render":60}']


def test_secrets(build: Callable[[str, str], Site]) -> None:
    """The assertions of the page about secrets hold."""
    with build("security.md", "Secrets").running():
        assert import_module("mysite.secrets").config.instance_id == "acme"


def test_revoking_in_a_transaction(
    build: Callable[[str, str], Site],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """The entry goes when the transaction is committed."""
    with build("security.md", "Invalidation").running():
        resolve_instance(AS_THE_SITE)
        with django_capture_on_commit_callbacks(execute=True):
            import_module("mysite.revoking").revoke("acme")
            assert get_resolver().cache.get("acme", allow_stale=True)
        assert get_resolver().cache.get("acme", allow_stale=True) is None


def test_encryption(build: Callable[[str, str], Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys no API key in the cache is readable, and without them no entry is."""
    pytest.importorskip("cryptography")
    keys = [new_encryption_key() for _ in range(2)]
    monkeypatch.setenv("INSTANCE_CACHE_KEYS", " ".join(keys))
    with build("security.md", "The cache").running():
        call_command("check")
        resolve_instance(AS_THE_SITE)
        assert "not-a-real-key" not in str(cache.get("instance_config:acme"))
        assert get_resolver().resolve(AS_THE_SITE).source == "cache"
        plain = {"CONFIG_SERVICE_BACKEND": DictConfigService({"acme": ACME})}
        with override_settings(INSTANCE_LOOKUP=plain):
            assert get_resolver().resolve(AS_THE_SITE).source == "service"
