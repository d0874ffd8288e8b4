"""What holds for the README and each page: its code is run, and its links lead somewhere."""

from __future__ import annotations

import json
import re

import pytest

from instance_lookup import LookupContext, LookupUser, get_resolver, resolve_instance
from instance_lookup.conf import Settings
from tests.support.documents import (
    ALL,
    PAGES,
    RECIPES,
    STARTS,
    TUTORIAL,
    Block,
    Site,
    blocks,
    commands,
    config_service,
    passed,
)
from tests.support.redis_server import RedisServer, find_server
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.servers import ScriptedServer

README = PAGES["README.md"].read_text(encoding="utf-8")
ALLOWED = {"python", "console", "json", "html", "ini", "nginx"}
TIMEOUTS = {'_TIMEOUT": 0.2': '_TIMEOUT": 5.0'}  # another machine, with more to do
WATCHING = "instance_lookup.management.commands.inspect_instance_cache"
SERVES_FOR_EVER = "config-service.md"  # its one console block; tests/sandbox starts that server

uses_extras = pytest.mark.extras  # the site uses DRF and django-redis


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    """A Config Service that answers what the README's file says."""
    with config_service() as server:
        yield server


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Site]:
    return lambda *more: Site(tmp_path, [*blocks("README.md"), *more])


@pytest.fixture
def production(
    build: Callable[..., Site],
    service: ScriptedServer,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """The README's site, whose hosts are servers of this machine."""
    monkeypatch.setenv("CONFIG_SERVICE_TOKEN", "token")
    monkeypatch.setenv("INSTANCE_CACHE_KEYS", b64encode(b"k" * 32).decode())
    site = build()
    hosts = {
        "redis://redis.internal:6379/1": redis_server.url(1),
        "https://config.internal.example.com": service.url,
    }
    site.replace("mysite/settings_production.py", hosts | TIMEOUTS)
    return site


@contextmanager
def emptied(alias: str) -> Iterator[None]:
    """Leave nothing in the server, and no connection to it."""
    try:
        yield
    finally:
        caches[alias].clear()
        caches[alias].client.get_client().connection_pool.disconnect()  # type: ignore[attr-defined]


def log_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(fields.pop("username", "olga"), **fields))
    return client


def ours() -> list[str]:
    """Return what the system checks say about us, deployment included."""
    messages = run_checks(include_deployment_checks=True)
    return [str(m) for m in messages if str(m.id).startswith("instance_lookup")]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_block_is_run_or_says_why_not(block: Block) -> None:
    """No block is there for decoration: its language is known here, and it goes somewhere."""
    assert block.language in ALLOWED
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "console":
        assert commands(block)
    elif block.language == "text":
        assert block.page in TUTORIAL
    else:
        assert block.file or not block.runs


def test_few_blocks_are_not_run() -> None:
    """At most three blocks of the README are not run, and one of the tutorial."""
    assert len([block for block in ALL if not block.runs]) <= 4


def test_two_commands_to_the_letter() -> None:
    """A newcomer on a bare machine starts the demo and the tests with these."""
    start = "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q tox"
    lines = README.splitlines()
    assert f"    {start} && .venv/bin/tox run -e sandbox" in lines
    assert f"    {start} && .venv/bin/tox run-parallel" in lines


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A link to another page or one of its headings does not dangle."""
    for target in re.findall(
        r"\]\(([^)#:]*(?:#[^)]*)?)\)", PAGES[page].read_text(encoding="utf-8")
    ):
        file, _, anchor = target.partition("#")
        path = PAGES[page].parent / file if file else PAGES[page]
        assert path.exists(), target
        text = path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
        assert not anchor or anchor in slugs, target


def test_table_of_settings_is_complete() -> None:
    """Names and defaults are those of the code, in its order."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", README, re.MULTILINE)
    documented = {name: [ast.literal_eval(v) for v in re.findall("`(.+?)`", d)] for name, d in rows}
    defaults: dict[str, Any] = {
        name.upper(): getattr(Settings(), name) for name in Settings.__struct_fields__
    }
    assert list(documented) == list(defaults)
    for name, default in defaults.items():
        assert documented[name] == (list(default) if name == "IDENTIFIERS" else [default])


@uses_extras
@pytest.mark.django_db
def test_first_settings_and_view(build: Callable[..., Site]) -> None:
    """The first blocks of the README make a view that answers its owner only."""
    with build().running():
        call_command("check")
        header = {"x-instance-id": "acme"}
        owner = log_in(pk=1)
        assert owner.get("/where/", headers=header).json() == {"instance": "acme", "beta": True}
        assert owner.get("/where/", headers={"x-project-id": "website"}).json()["beta"]
        assert owner.get("/where/").status_code == 400
        assert owner.get("/where/", headers={"x-instance-id": "acme,acme"}).status_code == 400
        assert owner.get("/where/", headers={"x-instance-id": "other"}).status_code == 404
        stranger = log_in(username="sam")
        assert stranger.get("/where/", headers=header).status_code == 403
        assert import_module("mysite.tasks").render("acme").startswith("https://render")


@uses_extras
@pytest.mark.django_db
def test_views_of_the_readme(build: Callable[..., Site]) -> None:
    """Each kind of view answers its owner, and a stranger nothing."""
    with build().running():
        owner, stranger = log_in(pk=1), log_in(username="sam")
        for url in ("/where/", "/where-async/", "/billing/", "/dashboard/"):
            header = {"x-instance-id": "acme", "accept": "text/html"}
            assert owner.get(url, headers=header).status_code == 200, url
            assert stranger.get(url, headers=header).status_code == 403, url
        assert owner.post("/jobs/", headers={"x-instance-id": "acme"}).json()["rpm"] == 60
        refused = stranger.post("/jobs/", headers={"x-instance-id": "acme"})
        assert (refused.status_code, refused.json()["status"]) == (403, 403)
        page = owner.get("/billing/", headers={"x-instance-id": "acme"}).text
        assert "<h1>Acme</h1>" in page
        assert "beta" in page


@uses_extras
def test_drf_is_installed_where_it_is_used(build: Callable[..., Site]) -> None:
    """DRF is in INSTALLED_APPS of the README: else its browsable pages lack their templates."""
    with build().running():
        assert "rest_framework" in import_module("mysite.settings").INSTALLED_APPS


def run_command(words: list[str]) -> None:
    """Run ``python manage.py …`` in this process. What fails may do so, but not for its usage."""
    words = words[: words.index("2>")] if "2>" in words else words
    at = words.index("manage.py") + 1
    name, *arguments = words[at:]
    if "--settings" in arguments:
        at = arguments.index("--settings")
        del arguments[at : at + 2]
    code = 0
    try:
        call_command(name, *arguments)
    except CommandError as exc:
        code = exc.returncode
    assert code != 1, words


@uses_extras
@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in RECIPES | TUTORIAL and page != SERVES_FOR_EVER]
)
def test_commands_do_what_they_say(
    page: str, production: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command line that is shown works on the site of the production settings.

    So do the lines of Python that go into no file.
    """
    monkeypatch.chdir(production.directory)
    monkeypatch.setattr("builtins.input", lambda: "yes")
    monkeypatch.setattr(f"{WATCHING}.sleep", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"acme\n")))
    (production.directory / "tenants.txt").write_text("acme\nglobex\n", encoding="utf-8")
    runnable = [block for block in blocks(page) if block.runs and block.section != STARTS]
    lines = [words for block in runnable for words, _ in commands(block) if "manage.py" in words]
    scripts = [b.text for b in runnable if b.language == "python" and not b.file]
    with production.running("mysite.settings_production"), emptied("default"):
        for words in lines:
            run_command(words)
        for script in scripts:
            exec(script, {})


@uses_extras
def test_production_settings(production: Site, service: ScriptedServer) -> None:
    """With the production settings all checks pass, and the second lookup is from the cache."""
    context = LookupContext(LookupUser("1"), instance_id="acme")
    with production.running("mysite.settings_production"), emptied("default"):
        assert ours() == []
        assert resolve_instance(context).instance_id == "acme"
        assert get_resolver().resolve(context).source == "cache"
        assert [request.headers["Authorization"] for request in service.received] == [
            "Bearer token"
        ]


@contextmanager
def sentinel(primary: RedisServer, directory: Path) -> Iterator[int]:
    """Yield the port of a sentinel that knows ``primary`` as "mymaster"."""
    port = free_port()
    config = directory / "sentinel.conf"
    monitor = f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n{monitor}\n", encoding="utf-8"
    )
    with (directory / "sentinel.log").open("wb") as log:
        process = subprocess.Popen([find_server(), str(config), "--sentinel"], stdout=log)
    try:
        wait_until(lambda: process.poll() is not None or _answers(port))
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith(b"+PONG")
    except OSError:
        return False


@uses_extras
def test_sentinel_settings(production: Site, redis_server: RedisServer, tmp_path: Path) -> None:
    """Entries go to, and come from, the primary that the sentinel names."""
    context = LookupContext(LookupUser("1"), instance_id="acme")
    with sentinel(redis_server, tmp_path) as port:
        hosts = {f'"sentinel-{n}.internal", 26379': f'"127.0.0.1", {port}' for n in (1, 2)}
        production.replace(
            "mysite/settings_sentinel.py", {**hosts, 'timeout": 0.2': 'timeout": 5.0'} | TIMEOUTS
        )
        with production.running("mysite.settings_sentinel"), emptied("default"):
            assert ours() == []
            assert get_resolver().resolve(context).source == "service"
            assert get_resolver().resolve(context).source == "cache"
            client = caches["default"].client.get_client()  # type: ignore[attr-defined]
            assert client.connection_pool.service_name == "mymaster"
            assert get_resolver().invalidate_cache("acme")


@uses_extras
def test_test_of_the_readme_passes(build: Callable[..., Site]) -> None:
    """The example of a test is one, and passes."""
    assert passed(build()) == 1
