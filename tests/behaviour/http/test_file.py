from __future__ import annotations

import json
import os
from codecs import BOM_UTF8
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.base import Document, NotModified
from instance_lookup.backends.file import FileConfigService
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import query

SECRET = "sk-very-secret"
ACME = {"instance_id": "acme", "api_keys": {"openai": SECRET}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "instances.json", [ACME])


def write(path: Path, instances: list[Any], **more: Any) -> Path:
    path.write_text(json.dumps({"instances": instances, **more}))
    return path


def body(service: FileConfigService, instance_id: str = "acme") -> bytes:
    answer = service.get_instance(instance_id, query())
    assert isinstance(answer, Document)
    return answer.body


def failure(path: Path) -> ConfigServiceUnavailable:
    with pytest.raises(ConfigServiceUnavailable) as caught:
        FileConfigService(path).get_instance("acme", query())
    return caught.value


def test_instance_is_answered_as_it_is_written(path: Path) -> None:
    """The JSON is the file's own, to the last digit."""
    path.write_text('{"instances": [{"instance_id": "acme",  "weight": 1.50}]}')
    assert body(FileConfigService(path)) == b'{"instance_id": "acme",  "weight": 1.50}'


def test_unknown_instance_is_not_found(path: Path) -> None:
    """An id that is not in the file does not exist."""
    with pytest.raises(InstanceNotFound, match="'nobody'"):
        FileConfigService(path).get_instance("nobody", query())


def test_project_is_mapped(path: Path) -> None:
    """`projects` says which instance a project belongs to."""
    write(path, [ACME], projects={"website": "acme"})
    answer = FileConfigService(path).get_project("website", query())
    assert isinstance(answer, Document)
    assert json.loads(answer.body) == {"project_id": "website", "instance_id": "acme"}


def test_same_etag_is_not_modified(path: Path) -> None:
    """The ETag is of the document, so it holds in another process, and after a touch."""
    answer = FileConfigService(path).get_instance("acme", query())
    assert isinstance(answer, Document)
    again = FileConfigService(path).get_instance("acme", query(etag=answer.etag))
    assert isinstance(again, NotModified)


def test_list_holds_every_id(path: Path) -> None:
    """All ids stand on one page, in the file's order."""
    write(path, [{"instance_id": "b"}, {"instance_id": "a"}])
    page = FileConfigService(path).list_instances(query())
    assert (page.instance_ids, page.next) == (("b", "a"), None)


def test_changed_file_is_read_again(path: Path) -> None:
    """A changed file is read without a restart."""
    service = FileConfigService(path)
    assert body(service)
    write(path, [{"instance_id": "globex"}])
    assert body(service, "globex")
    with pytest.raises(InstanceNotFound):
        body(service)


def test_replaced_file_is_read_again_whatever_its_time(path: Path, tmp_path: Path) -> None:
    """A file renamed over the old one is another one, even of the same size and time."""
    service = FileConfigService(path)
    first = body(service)
    new = write(
        tmp_path / "new.json", [{"instance_id": "acme", "api_keys": {"openai": SECRET[::-1]}}]
    )
    stat = path.stat()
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.rename(path)
    assert path.stat().st_size == stat.st_size
    assert body(service) != first


def test_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call costs a stat, not a read."""
    service = FileConfigService(path)
    first = body(service)
    monkeypatch.setattr(Path, "open", None)
    assert body(service) == first


def test_missing_file_is_unavailable(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    error = failure(tmp_path / "nothing.json")
    assert str(error) == f"{tmp_path}/nothing.json cannot be read: No such file or directory."
    assert error.details == {"reason": "unreachable"}


def test_removed_file_is_unavailable(path: Path) -> None:
    """When the file is removed lookups fail; stale copies are left to the cache."""
    service = FileConfigService(path)
    assert body(service)
    path.unlink()
    with pytest.raises(ConfigServiceUnavailable, match="cannot be read"):
        body(service)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 1, "Input data was truncated"),
        (b'{\n"instances": [\n', 3, "Input data was truncated"),
        (b'{\n"instances": [{"a": "%b"\n"b"}]}', 3, "JSON is malformed: expected ',' or '}'"),
        (b'{"instances": []}\n\nmore', 3, "JSON is malformed: trailing characters"),
        (b'{"instances": [\n{"a": "%b\xff"}]}', 2, "This is not UTF-8"),
        (b"[]", 1, "Expected `object`, got `array`"),
        (b'{"projects": {}}', 1, "Object missing required field `instances`"),
        (b'{"instances": [], "projects": {"%b": 1}}', 1, "Expected `str`, got `int`"),
        (b'{"instances": [\n{"instance_id": "a"},\n{"key": "%b"}]}', 3, "missing required field"),
        (b'{"instances": [\n"%b"]}', 2, "Expected `object`, got `str`"),
        (b'{"instances": [{"instance_id": "a"},\n{"instance_id": "a"}]}', 2, "two instances 'a'"),
        (b'{"%b": ' + b"[" * 100_000, 1, "maximum recursion depth exceeded"),
    ],
)
def test_invalid_file_is_unavailable(path: Path, content: bytes, line: int, problem: str) -> None:
    """The error names path and line, and nothing of the content shows anywhere in it."""
    path.write_bytes(content.replace(b"%b", SECRET.encode()))
    error = failure(path)
    assert str(error).startswith(f"{path}, line {line}: ")
    assert problem in str(error)
    assert error.details == {"reason": "rejected", "line": line}
    assert SECRET not in shown(error)


def test_byte_order_mark_is_dropped(path: Path) -> None:
    """Editors on Windows write one; the instance is answered without it."""
    path.write_bytes(BOM_UTF8 + b'{"instances": [{"instance_id": "acme"}], "projects": null}')
    assert body(FileConfigService(path)) == b'{"instance_id": "acme"}'


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"instances": [\n{"instance_id": 1}]}', 2),
        (b'{"instances": []}\nx', 2),
        (b'{\n"instances": [\n', 3),
        (b'{"instances": [\n\xff', 2),
        (b"[]", 1),
    ],
)
def test_byte_order_mark_leaves_the_line_right(path: Path, content: bytes, line: int) -> None:
    """An error right after a line break is in the new line, mark or not."""
    for mark in (b"", BOM_UTF8):
        path.write_bytes(mark + content)
        assert failure(path).details["line"] == line


def test_byte_order_mark_of_utf_16_is_told(path: Path) -> None:
    """The other encoding of Windows is not read, and the error says why."""
    path.write_bytes('{"instances": []}'.encode("utf-16"))
    assert "This is not UTF-8" in str(failure(path))


def test_invalid_edit_is_unavailable_until_mended(path: Path) -> None:
    """A broken edit is told, and mending it is enough."""
    service = FileConfigService(path)
    assert body(service)
    path.write_text("{")
    with pytest.raises(ConfigServiceUnavailable):
        body(service)
    write(path, [ACME])
    assert body(service)


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_settings_take_a_path_or_a_url(tmp_path: Path, form: str) -> None:
    """CONFIG_SERVICE_URL may be a path or a file:// URL."""
    path = write(tmp_path / "instances.json", [ACME])
    settings: Any = SimpleNamespace(config_service_url=form.format(path=path))
    assert body(FileConfigService.from_settings(settings))


def test_settings_url_is_unquoted(tmp_path: Path) -> None:
    """A space in a file:// URL is written %20."""
    path = write(tmp_path / "my instances.json", [ACME])
    settings: Any = SimpleNamespace(config_service_url=path.as_uri())
    assert body(FileConfigService.from_settings(settings))


def test_settings_without_a_path_are_an_error() -> None:
    """The error for a missing path names the setting."""
    settings: Any = SimpleNamespace(config_service_url="")
    with pytest.raises(ImproperlyConfigured, match="CONFIG_SERVICE_URL"):
        FileConfigService.from_settings(settings)


def test_threads_see_whole_files_only(path: Path, tmp_path: Path) -> None:
    """While the file is being replaced each thread gets one version or the other."""
    service = FileConfigService(path)
    versions = [[{"instance_id": "acme", "n": [n] * 1000}] for n in (1, 2)]
    seen: list[int] = []

    def read() -> None:
        for _ in range(100):
            numbers = json.loads(body(service)).get("n", [0])
            seen.append(len(set(numbers)))

    threads = [Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(50):
        write(tmp_path / "new.json", versions[turn % 2]).rename(path)
    for thread in threads:
        thread.join(10)
    assert seen == [1] * 400
