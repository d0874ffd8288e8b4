"""The reference Config Service: starting, stopping, logging and seeding it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests
from config_service.process import MANAGE, ServerProcess, ServiceAdmin, next_line

from tests.sandbox.service import ADMIN_PASSWORD, TOKEN, Api, fresh_id, start_config_service
from tests.support.documents import ROOT, commands, section

# --- the process -------------------------------------------------------------------------------


def test_server_stops_on_sigterm(tmp_path: Path) -> None:
    """SIGTERM stops the server with exit code 0."""
    with start_config_service(tmp_path, seed=False) as server:
        server.process.terminate()
        assert server.process.wait(10) == 0


def test_server_stops_and_comes_back_as_it_was(tmp_path: Path) -> None:
    """A stopped service does not answer, and keeps its data for the next start on its port."""
    with start_config_service(tmp_path) as server:
        tag = Api(server.url).ask("/instances/studio-a").headers["ETag"]
        assert server.stop() == 0
        with pytest.raises(requests.ConnectionError):
            Api(server.url).ask("/instances/studio-a")

        with start_config_service(tmp_path, port=server.port, seed=False) as again:
            assert again.url == server.url
            assert Api(again.url).ask("/instances/studio-a").headers["ETag"] == tag


def test_server_starts_as_the_page_says(tmp_path: Path) -> None:
    """The commands of docs/reference/config-service.md start a server that serves what it says."""
    [block] = [b for b in section("config-service.md", "The reference service") if not b.file]
    [_, (serve, greeting), (curl, _)] = commands(block)
    assert serve[0] == ".venv/bin/python"
    with subprocess.Popen(
        [sys.executable, *serve[1:], "--port=0", "--stop-with-parent"],
        cwd=ROOT,
        env={
            **os.environ,
            # A fresh clone has no folder for it either.
            "SANDBOX_DATA_DIR": str(tmp_path / "new"),
            "CONFIG_SERVICE_TOKEN": "",
            "CONFIG_SERVICE_WEBHOOKS": "{}",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            url = next_line(process, 60).decode().removeprefix("Listening on ").strip()
            _, _, header, address = curl
            name, _, value = header.partition(": ")
            address = address.replace(greeting.removeprefix("Listening on ").strip(), url)
            answer = requests.get(address, headers={name: value}, timeout=10)
        finally:
            process.terminate()

    assert answer.json()["instance_id"] == "studio-a"


@pytest.mark.parametrize("missing", ["django", "instance_lookup"])
def test_manage_without_an_installation_says_how_to_get_one(tmp_path: Path, missing: str) -> None:
    """A fresh clone answers with one line to type, not with a traceback."""
    if missing != "django":
        for name in ("django", "asgiref", "sqlparse"):
            (tmp_path / name).symlink_to(Path(str(find_spec(name).origin)).parent)  # type: ignore[union-attr]
    # Without the site-packages of this interpreter.
    done = subprocess.run(
        [sys.executable, "-S", str(MANAGE), "serve"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"{missing} is not installed for this Python.")
    assert 'pip --python .venv install -e ".[redis,drf]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_server_stops_with_its_parent(tmp_path: Path) -> None:
    """When the parent's end of the pipe closes, even by a kill, the server goes too."""
    with start_config_service(tmp_path, seed=False) as server:
        assert server.process.stdin
        server.process.stdin.close()
        assert server.process.wait(10) == 0


def test_server_on_a_taken_port_says_so(config_service: ServerProcess, tmp_path: Path) -> None:
    """A server that cannot start leaves a reason, not a traceback."""
    port = config_service.port
    with pytest.raises(RuntimeError, match=f"Cannot listen on port {port}") as caught:
        start_config_service(tmp_path, port=port, seed=False)

    assert "Traceback" not in str(caught.value)


def test_server_log_holds_no_secret(api: Api, config_service: ServerProcess) -> None:
    """The server's log holds no token and no API key."""
    assert api.ask("/instances/studio-a").json()["api_keys"]["render"] == "sandbox-key-of-studio-a"
    log = config_service.log.read_text()

    assert "/instances/studio-a 200" in log
    assert TOKEN not in log
    assert "sandbox-key-of" not in log


# --- request ids -------------------------------------------------------------------------------


def test_request_id_is_echoed_and_logged(api: Api, config_service: ServerProcess) -> None:
    """A request id is returned and logged, so both sides can find the call."""
    request_id = fresh_id()

    answer = api.ask("/instances/nowhere", X_Request_ID=request_id)
    assert answer.headers["X-Request-ID"] == request_id
    line = re.search(rf".*request_id={request_id}\n", config_service.log.read_text())
    assert line
    assert "GET /instances/nowhere 404" in line[0]


@pytest.mark.parametrize("request_id", [None, "", "a b", "x" * 201, "\x1b[31m", "\xe9"])
def test_request_id_malformed_is_replaced(api: Api, request_id: str | None) -> None:
    """A malformed request id is replaced: it could forge a line of the log."""
    given = api.ask("/instances", X_Request_ID=request_id).headers["X-Request-ID"]

    assert re.fullmatch("[0-9a-f]{32}", given)


# --- seeds -------------------------------------------------------------------------------------


def seed(data_dir: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the seeding command."""
    ours = {"SANDBOX_DATA_DIR": str(data_dir), "CONFIG_SERVICE_ADMIN_PASSWORD": ADMIN_PASSWORD}
    return subprocess.run(
        [sys.executable, str(MANAGE), "seed", "--settings=config_service.settings"],
        env={**os.environ, "PYTHONWARNINGS": "error", **ours, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_seed_restores_its_own_rows_and_no_others(tmp_path: Path) -> None:
    """Seeding again restores the story's rows, and leaves all others."""
    with start_config_service(tmp_path) as server:
        api, admin = Api(server.url), ServiceAdmin(server.url, ADMIN_PASSWORD)
        tag = api.ask("/instances/studio-b").headers["ETag"]
        admin.remove("studio-a")
        admin.set("instance/mine", owner="5")
        admin.switch(down=True)
        assert seed(tmp_path, SANDBOX_OWNER_ID="9").returncode == 0

        assert api.ask("/instances/studio-a").json()["metadata"]["owner"] == "9"
        assert api.ask("/instances/mine").json()["metadata"]["owner"] == "5"
        assert api.ask("/projects/film-42").json()["instance_id"] == "studio-a"
        assert api.ask("/instances/studio-b").headers["ETag"] == tag


def test_seed_with_a_wrong_url_changes_nothing(config_service: ServerProcess) -> None:
    """Seeding with a wrong URL explains the error and changes nothing."""
    before = Api(config_service.url).ask("/instances/studio-a").content
    result = seed(config_service.log.parent, SANDBOX_OWNER_ID="9", SANDBOX_WORKER_URL="nowhere")

    assert result.returncode == 1
    assert "must be a URL" in result.stderr
    assert "Traceback" not in result.stderr
    assert Api(config_service.url).ask("/instances/studio-a").content == before
