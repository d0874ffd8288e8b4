"""What the workflows promise: no release without tests and an audit, and no right without a use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"

pytestmark = pytest.mark.extras  # the environment `bare` has no PyYAML


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def before(jobs: dict[str, Any], name: str) -> set[str]:
    """Return the jobs that have to succeed before that one begins."""
    needs = jobs[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(before(jobs, each) for each in direct))


def test_ci_runs_what_every_machine_runs() -> None:
    """The workflow adds nothing of its own: what fails there fails on a laptop too."""
    assert "bash .ci/run" in commands(workflow("ci.yml")["jobs"]["test"])


def test_release_is_tested_and_audited_before_it_is_published() -> None:
    """Nothing is published unless the tests passed, and OSV could be asked."""
    jobs = workflow("release.yml")["jobs"]
    assert jobs["test"]["uses"].endswith("/ci.yml")
    assert before(jobs, "publish") == {"test", "build", "attest"}
    assert before(jobs, "announce") == {"test", "build", "attest", "publish"}
    run = commands(jobs["build"])
    assert run.index("tox run -e lint -- --required") < run.index("tox run -e dist")


def test_release_is_switched_on_by_a_maintainer() -> None:
    """A fork, or a project that is not set up, publishes nothing by pushing a tag."""
    jobs = workflow("release.yml")["jobs"]
    first = [name for name, job in jobs.items() if not before(jobs, name)]
    assert {jobs[name].get("if") for name in first} == {"vars.RELEASE == 'on'"}


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_rights_of_jobs(name: str) -> None:
    """A job has the rights it uses: to sign and to publish are not those that run our code."""
    found = workflow(name)
    assert found["permissions"] == {}
    for job in found["jobs"].values():
        runs_code = any(
            step.get("uses", "").startswith("actions/checkout@") for step in job.get("steps", [])
        )
        if runs_code or "uses" in job:
            assert job["permissions"] == {"contents": "read"}
