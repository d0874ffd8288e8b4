"""What is found about other backends than HTTP, and about settings that are wrong."""

from __future__ import annotations

import json
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.backends.base import ConfigServiceBackend, Document
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound
from instance_lookup.operations.doctor import transport
from tests.behaviour.operations.doctor.support import (
    PATIENT,
    SECRET,
    document,
    examined,
    levels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings

    from instance_lookup.backends.base import NotModified, Page, Query
    from instance_lookup.operations.doctor.findings import Finding


@pytest.fixture
def site(shared: str, settings: Settings) -> Settings:
    settings.INSTANCE_LOOKUP = {**PATIENT, "CACHE_ALIAS": shared}
    return settings


def with_backend(site: Settings, backend: Any, **options: Any) -> dict[str, Finding]:
    site.INSTANCE_LOOKUP = {**site.INSTANCE_LOOKUP, "CONFIG_SERVICE_BACKEND": backend, **options}
    return examined(deep=True)


FILE = "instance_lookup.backends.file.FileConfigService"


def test_file(site: Settings, tmp_path: Path) -> None:
    """A file is looked at like a service; what does not apply is skipped by name."""
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"instances": [document("acme")]}), encoding="utf-8")
    found = with_backend(site, FILE, CONFIG_SERVICE_URL=str(path))
    assert levels(found, "error") == levels(found, "warning") == set()
    assert found["answer"].seen == f"The Config Service at {path} answers"
    not_http = {*transport.PROBES, *transport.BODY_PROBES, *transport.DEEP_PROBES}
    assert not_http <= levels(found, "skipped")
    assert found["name"].seen == "FileConfigService does not ask over HTTP"
    assert {"document", "etag", "users", "unknown id", "whole list"} <= levels(found, "ok")


def test_file_that_is_wrong(site: Settings, tmp_path: Path) -> None:
    """A file that cannot be read is one error, which names the line."""
    path = tmp_path / "instances.json"
    path.write_text("{\n}", encoding="utf-8")
    found = with_backend(site, FILE, CONFIG_SERVICE_URL=str(path))
    assert levels(found, "error") == {"answer"}
    assert "line 1" in found["answer"].seen
    assert found["round trip"].level == "ok"


class Own(ConfigServiceBackend):
    """A backend of a project's own, which knows every instance but those of the doctor."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if instance_id.startswith("doctor-"):
            raise InstanceNotFound("no", instance_id=instance_id)
        return Document(json.dumps(document(instance_id)).encode())

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        raise InstanceNotFound("no", project_id=project_id)


def test_backend_of_its_own(site: Settings) -> None:
    """A backend without a list is right; an instance is looked at where one is named."""
    found = with_backend(site, Own)
    assert levels(found, "error") == levels(found, "warning") == set()
    assert "there is none" in found["list"].seen
    assert found["document"].do == "--instance names one."
    assert found["whole list"].seen == "there is no list that can be read"
    assert examined("acme")["document"].seen == "of 'acme': valid"


class Raises(Own):
    """Raises with everything that it knows."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        raise RuntimeError(SECRET)


class Down(Own):
    """Names its address with a password, as it should not."""

    location = f"grpc://user:{SECRET}@host/@path"

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        raise ConfigServiceUnavailable(f"no answer of {self.location}", reason="unreachable")


@pytest.mark.parametrize(
    ("backend", "seen"),
    [
        (Raises, "The Config Service (Raises) gives no answer: RuntimeError"),
        (
            Down,
            "The Config Service at grpc://********@path gives no answer: unreachable: no answer of"
            " grpc://********@path",
        ),
    ],
)
def test_backend_that_fails(site: Settings, backend: type[Own], seen: str) -> None:
    """A backend that fails is one error, without a secret or a traceback."""
    found = with_backend(site, backend)
    assert levels(found, "error") == {"answer"}
    assert found["answer"].seen == seen


class Rubbish(Own):
    """Answers what no backend may."""

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        return ["acme"]  # type: ignore[return-value]

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        return None  # type: ignore[return-value]


def test_backend_that_answers_rubbish(site: Settings) -> None:
    """An answer of another form is named, and breaks no other probe."""
    found = with_backend(site, Rubbish)
    assert found["list"].seen == "the answer has no form that can be read (AttributeError)"
    assert found["projects"].level == "warning"
    assert found["unknown id"].level == "ok"


class Hanging(Own):
    """Keeps no deadline."""

    go_on = Event()

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        self.go_on.wait()
        raise RuntimeError

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        raise TimeoutError(SECRET)


@pytest.fixture
def hanging() -> Iterator[type[Hanging]]:
    Hanging.go_on.clear()
    yield Hanging
    Hanging.go_on.set()


def test_backend_that_keeps_no_deadline(
    site: Settings, hanging: type[Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that hangs holds the doctor up no longer than a call may take."""
    monkeypatch.setattr("instance_lookup.operations.doctor.probing.GRACE", 0.0)
    found = with_backend(site, hanging, CONFIG_SERVICE_TIMEOUT=0.2)
    assert levels(found, "error") >= {"answer"}
    assert found["answer"].seen.endswith("it did not end by its deadline")


class Late(Own):
    """Raises a time-out of its own."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        raise TimeoutError(SECRET)


def test_backend_that_raises_a_timeout(site: Settings) -> None:
    """A time-out that a backend raises itself is told as that."""
    assert with_backend(site, Late)["answer"].seen.endswith("gives no answer: TimeoutError")


class SometimesLate(Own):
    """Answers the first call for an instance, and says of all others that time is over."""

    def __init__(self) -> None:
        self.answered = 0

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if instance_id == "acme":
            self.answered += 1
            if self.answered > 1:
                raise ConfigServiceUnavailable("late", reason="timeout")
        return super().get_instance(instance_id, query)


def test_time_that_is_over_is_no_failure(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty calls have the time of one: the call at which it ends does not count."""
    times = iter([0.0, 0.0, 1.0, 99.0])
    monkeypatch.setattr("instance_lookup.operations.doctor.service.monotonic", lambda: next(times))
    site.INSTANCE_LOOKUP = {**site.INSTANCE_LOOKUP, "CONFIG_SERVICE_BACKEND": SometimesLate()}
    finding = examined("acme")["latency"]
    assert (finding.level, finding.figures["calls"], finding.figures["failed"]) == ("ok", 1, 0)


# -- settings --------------------------------------------------------------------------------------


class Unmade(Own):
    """Cannot be made."""

    @classmethod
    def from_settings(cls, settings: object) -> Unmade:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"CACHE_TLL": 3}, "'CACHE_TLL'] is not a setting"),
        ({"CACHE_ALIAS": "nowhere"}, "nowhere"),
        ({"CONFIG_SERVICE_BACKEND": Unmade}, "no resolver can be made of them (RuntimeError)"),
    ],
)
def test_settings_that_are_wrong(site: Settings, options: dict[str, Any], seen: str) -> None:
    """With settings that are wrong nothing is looked at, and it would not work."""
    site.INSTANCE_LOOKUP = {**site.INSTANCE_LOOKUP, "CONFIG_SERVICE_BACKEND": Own, **options}
    found = examined()
    assert found.keys() == levels(found, "error") == {"settings"}
    assert seen in found["settings"].seen
    assert SECRET not in found["settings"].seen


def test_check_that_fails(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A middleware that cannot even be looked at is to be mended, and no traceback."""

    def refuse(path: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("instance_lookup.checks._class_or_none", refuse)
    found = with_backend(site, Own)
    assert found["settings"].seen == "manage.py check fails (RuntimeError)"
    assert found["pickle"].seen == "manage.py check fails (RuntimeError)"
    assert found["document"].level == "skipped"


def test_settings_of_the_site(site: Settings) -> None:
    """What the system checks say of the rest of the site is told as well."""
    site.MIDDLEWARE = []
    finding = with_backend(site, Own)["settings"]
    assert finding.level == "warning"
    assert "InstanceConfigMiddleware is not in MIDDLEWARE" in finding.seen
