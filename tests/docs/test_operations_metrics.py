"""The page about metrics, the dashboard and the alert rules."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml
from prometheus_client import CollectorRegistry

from instance_lookup import InstanceResolver, events
from instance_lookup.contrib.prometheus.exporter import Exporter
from tests.outages.sites import Service as FleetService
from tests.outages.sites import get_all
from tests.support.documents import ROOT
from tests.support.lookups import Service, asks
from tests.support.prometheus_tools import program
from tests.support.running import running
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import socket

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

OPERATIONS = ROOT / "docs" / "operations"
RULES = OPERATIONS / "prometheus-rules.yml"
PAGE = (OPERATIONS / "metrics.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((OPERATIONS / "grafana-dashboard.json").read_text(encoding="utf-8"))
_NAME = re.compile(r"\binstance_lookup_[a-z_]+")


def exported() -> set[str]:
    """Return the names of all series that the exporter may make."""
    registry = CollectorRegistry()
    Exporter(registry)
    names: set[str] = set()
    for metric in registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        names |= {metric.name + ending for ending in endings.get(metric.type, [""])}
    return names


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def test_rules_use_what_is_exported() -> None:
    """No alert waits for a metric that does not exist."""
    used = {name for rule in rules() for name in _NAME.findall(rule["expr"])}
    assert used
    assert used <= exported()


def test_dashboard_uses_what_is_exported() -> None:
    """No panel asks for a metric that does not exist, and each metric has a panel."""
    used = set(_NAME.findall(json.dumps([panel["targets"] for panel in DASHBOARD["panels"]])))
    assert used <= exported()
    base = re.compile("_(bucket|count|sum)$")
    assert {base.sub("", name) for name in used} == {base.sub("", name) for name in exported()}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_page_explains_every_alert() -> None:
    """What an alert means, and what to do, is on the page."""
    documented = re.findall(r"^\| `(InstanceLookup\w+)` \|", PAGE, re.MULTILINE)
    assert documented == [rule["alert"] for rule in rules()]


def test_own_watcher(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The watcher that the page shows is told of calls, and logs the slow ones."""
    write_blocks(tmp_path)
    watcher = runpy.run_path(str(tmp_path / "mysite" / "apps.py"))["log_slow_calls"]
    events.watch(watcher)
    try:
        InstanceResolver(config_service_backend=Service()).resolve(asks())
        events.tell(events.ServiceCall("instance", "acme", "ok", 200, 0.0, 1.5, "r"))
    finally:
        events.unwatch(watcher)
    assert caplog.messages == ["Slow answer for instance acme: 1.5 s."]


def write_blocks(directory: Path) -> None:
    """Write the files that the page shows."""
    for block in re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL):
        path = directory / block.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)


@pytest.mark.programs
def test_promtool_checks_the_rules() -> None:
    """Prometheus's own tool finds nothing wrong."""
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def of_site(name: str, values: str, **labels: str) -> dict[str, str]:
    shown = ", ".join(f'{key}="{value}"' for key, value in {"job": "site", **labels}.items())
    return {"series": f"instance_lookup_{name}{{{shown}}}", "values": values}


ALARMS: dict[str, list[dict[str, str]]] = {
    "InstanceLookupServiceDown": [of_site("breaker_state", "2x30")],
    "InstanceLookupStaleRunwayShort": [
        of_site("stale_runway_seconds_bucket", "0+10x30", le="600.0")
    ],
    "InstanceLookupProcessDeaf": [of_site("subscription_up", "0x30")],
    "InstanceLookupMissStorm": [
        of_site("service_requests_total", "0+1200x30", outcome="missing"),
        of_site("requests_total", "0+3000x30", source="none", outcome="instance_not_found"),
    ],
    "InstanceLookupDeniedStorm": [
        of_site("denied_total", "0+120x30", by="policy"),
        of_site("requests_total", "0+600x30", source="none", outcome="access_denied"),
    ],
    "InstanceLookupCacheDistrusted": [of_site("rejected_total", "0+1x30", reason="generation")],
    "InstanceLookupDeliveriesRefused": [
        of_site("webhook_deliveries_total", "0+2x30", outcome="unsigned"),
        of_site("webhook_deliveries_total", "7x30", outcome="done"),
    ],
}
FAILING_CALLS = [
    of_site("service_requests_total", "0+60x30", outcome="timeout"),
    of_site("service_requests_total", "0+30x30", outcome="ok"),
]
HEALTHY = [
    of_site("rejected_total", "0+5x30", reason="outdated"),
    of_site("webhook_deliveries_total", "0+2x30", outcome="unsigned"),
    of_site("webhook_deliveries_total", "0+60x30", outcome="done"),
    of_site("breaker_state", "0x30"),
    of_site("subscription_up", "1x30"),
    of_site("stale_runway_seconds_bucket", "3x30", le="600.0"),
    of_site("denied_total", "0+6x30", by="policy"),
    of_site("service_requests_total", "0+900x30", outcome="ok"),
    of_site("service_requests_total", "0+30x30", outcome="timeout"),
    of_site("requests_total", "0+60000x30", source="near", outcome="ok"),
]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("series", "alert"),
    [
        *((series, alert) for alert, series in ALARMS.items()),
        (FAILING_CALLS, "InstanceLookupServiceDown"),
        (HEALTHY, None),
    ],
)
def test_alerts(series: list[dict[str, str]], alert: str | None, tmp_path: Path) -> None:
    """Each alert fires on its own trouble and on no other, and none on a healthy site."""
    firing = [
        {
            "eval_time": "20m",
            "alertname": rule["alert"],
            "exp_alerts": [expected(rule)] if rule["alert"] == alert else [],
        }
        for rule in rules()
    ]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": firing}]
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expected(rule: dict[str, Any]) -> dict[str, Any]:
    texts = {
        name: text.replace("{{ $labels.job }}", "site")
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": {"job": "site", **rule["labels"]}, "exp_annotations": texts}


class Prometheus(ServerProcess):
    """A real one that has loaded the rules."""

    def _words(self, port: int) -> list[str]:
        config = Path(self.directory, "prometheus.yml")
        config.write_text(json.dumps({"rule_files": [str(RULES)]}))
        words = [f"--config.file={config}", f"--storage.tsdb.path={self.directory}/data"]
        return [program("prometheus"), *words, f"--web.listen-address=127.0.0.1:{port}"]

    def _is_ours(self, connection: socket.socket) -> bool:
        port = connection.getpeername()[1]
        answer = requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=5)
        return answer.status_code == 200


@pytest.mark.programs
def test_prometheus_loads_the_rules() -> None:
    """A real Prometheus starts with them, and none has an error."""

    def loaded() -> list[dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{server.port}/api/v1/rules", timeout=5).json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    with Prometheus() as server:
        wait_until(lambda: len(loaded()) == len(rules()))
        assert not [rule for rule in loaded() if rule["health"] == "err"]


@pytest.mark.programs
def test_gunicorn_with_four_workers(redis_server: RedisServer, tmp_path: Path) -> None:
    """Each worker tells of all, near hits too; one that has ended leaves no gauges behind."""
    write_blocks(tmp_path)
    files = tmp_path / "values"
    files.mkdir()
    redis_server.command("FLUSHALL")
    command = ["gunicorn", "tests.outages.live_metrics:wsgi", "--bind", "fd://{fd}"]
    command += ["--workers", "4", "--no-control-socket", "--worker-tmp-dir", "{tmp}"]
    command += ["--preload", "--config", "{tmp}/gunicorn.conf.py"]
    environ = {
        "REDIS_URL": redis_server.url(),
        "PROMETHEUS_MULTIPROC_DIR": str(files),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }
    with (
        FleetService() as service,
        running(command, tmp_path, CONFIG_SERVICE_URL=service.url, **environ) as site,
    ):
        asked: Counter[str] = Counter()
        wait_until(lambda: ask(site, 40, asked) == 4, 60)
        requests_total = partial(total, site, "requests_total")
        wait_until(lambda: requests_total() == asked.total(), 30)
        assert requests_total('source="near"') > 0
        assert requests_total('source="service"') == 1
        assert total(site, "subscription_up") == 1
        assert 1 <= total(site, "near_entries") <= 4
        one = next(iter(asked))
        os.kill(int(one), signal.SIGTERM)  # a worker of this server, which replaces it
        wait_until(lambda: not list(files.glob(f"gauge_live*_{one}.db")), 30)
        assert requests_total() == asked.total()


def ask(site: str, times: int, asked: Counter[str]) -> int:
    """Ask for one instance so many times at once; return how many processes answered so far."""
    answers = get_all(site, ["one"] * times)
    assert {answer.text for answer in answers} == {"one"}
    asked.update(answer.headers["X-Pid"] for answer in answers)
    return len(asked)


def total(site: str, name: str, label: str = "") -> float:
    """Return the sum of the series of a metric that have a ``label``, as a scrape shows them."""
    lines = requests.get(f"{site}/metrics", timeout=20).text.splitlines()
    of_metric = [line for line in lines if re.match(rf"instance_lookup_{name}[{{ ]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in of_metric if label in line)
