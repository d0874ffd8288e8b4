"""Configurations from a JSON file: for laptops, demos and sites without a Config Service.

::

    {
      "instances": [{"instance_id": "acme", "api_keys": {…}, …}, …],
      "projects": {"website": "acme"}
    }

``projects`` may be left out. The file is read again when it changes; write a new file and rename it
over the old one, so that half a file is never read.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.answers import Reason
from instance_lookup.backends.memory import Catalogue, LocalConfigService
from instance_lookup.exceptions import ConfigServiceUnavailable

if TYPE_CHECKING:
    from instance_lookup.conf import Settings

T = TypeVar("T")
Stamp = tuple[int, int, int]
"""When, how long and which file: ``mtime_ns``, size, inode."""


class _Read(NamedTuple):
    stamp: Stamp
    catalogue: Catalogue


class _File(msgspec.Struct):
    instances: list[msgspec.Raw]
    projects: dict[str, str] | None = None


class _Item(msgspec.Struct):
    instance_id: str


class FileConfigService(LocalConfigService):
    """Answer from a JSON file, each configuration as it is written there."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._read: _Read | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take ``CONFIG_SERVICE_URL`` as a path or a ``file://`` URL."""
        location = settings.config_service_url
        if not location:
            raise ImproperlyConfigured("FileConfigService needs a path in CONFIG_SERVICE_URL.")
        url = urlsplit(location)
        return cls(url2pathname(url.path) if url.scheme == "file" else location)

    @property
    def location(self) -> str:
        """The file's path."""
        return str(self._path)

    def catalogue(self) -> Catalogue:
        """Return what the file says, reading it if it is another than last time.

        Without a lock: two threads may both read it, and what is kept always has the stamp of
        what was read.
        """
        last = self._read
        try:
            current = last and last.stamp == _stamp(self._path.stat())
            loaded = last if last and current else _load(self._path)
        except OSError as exc:
            raise ConfigServiceUnavailable(
                f"{self._path} cannot be read: {exc.strerror}.", reason=Reason.UNREACHABLE
            ) from exc
        if isinstance(loaded, ConfigServiceUnavailable):
            raise loaded
        self._read = loaded
        return loaded.catalogue


def _load(path: Path) -> _Read | ConfigServiceUnavailable:
    """Read the file. An error is returned, not raised: its traceback would lead to the content."""
    with path.open("rb") as file:
        # Editors on Windows begin a file with a byte order mark, which JSON does not know.
        stamp, data = _stamp(os.fstat(file.fileno())), file.read().removeprefix(BOM_UTF8)
    try:
        return _Read(stamp, parse(data))
    except _Malformed as exc:
        line, problem = data.count(b"\n", 0, exc.position) + 1, str(exc)
    return ConfigServiceUnavailable(
        f"{path}, line {line}: {problem}.", reason=Reason.REJECTED, line=line
    )


class _Malformed(Exception):
    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def parse(data: bytes) -> Catalogue:
    """Return what the bytes of such a file say."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        raise _Malformed(exc.start, "This is not UTF-8") from None
    file = _decode(data, _File, 0)
    instances: dict[str, msgspec.Raw] = {}
    start = 0
    for raw in file.instances:
        start = data.index(raw, start)
        instance_id = _decode(raw, _Item, start).instance_id
        if instance_id in instances:
            raise _Malformed(start, f"There are two instances {instance_id!r}")
        instances[instance_id] = raw
        start += len(bytes(raw))
    return Catalogue(instances, file.projects or {})


def _decode(data: bytes | msgspec.Raw, kind: type[T], start: int) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as exc:
        problem = str(exc)
    if found := re.search(r" \(byte ([0-9]+)\)$", problem):
        raise _Malformed(start + int(found[1]), problem[: found.start()])
    # "Input data was truncated" is about the end, a wrong type about the beginning.
    raise _Malformed(len(bytes(data)) if "truncated" in problem else start, problem)


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
