from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import debian


class Commands:
    """What runs in place of commands: it notes them, and downloads and unpacks as they do."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.options: list[dict[str, Any]] = []
        self._lists = False
        """Whether this machine has lists of packages."""

    def __call__(self, words: tuple[str, ...], **options: Any) -> Any:
        self.ran.append(words)
        self.options.append(options)
        match words:
            case "apt-get", "update", *_:
                self._lists = True
            case "apt-get", "download", *_, package if self._lists:
                (options["cwd"] / f"{package}_1.deb").touch()
            case "apt-get", "download", *_:
                return subprocess.CompletedProcess(words, 100, "", "no such package")
            case "dpkg", "-x", _, folder:
                Path(folder).mkdir()
                (Path(folder) / "program").touch()
        return subprocess.CompletedProcess(words, 0, "", "")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    commands = Commands()
    monkeypatch.setattr(subprocess, "run", commands)
    monkeypatch.setattr(debian, "UNPACKED", tmp_path / "debian")
    return commands


def test_install_asks_nothing(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a question about its settings does not wait for an answer."""
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    debian.install("one", "two")
    assert commands.ran[-1][-2:] == ("one", "two")
    for options in commands.options:
        assert options["stdin"] == subprocess.DEVNULL
        assert options["env"]["DEBIAN_FRONTEND"] == "noninteractive"


def test_user_who_cannot_install(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to type."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(debian.MissingProgramError, match="apt-get install one two"):
        debian.install("one", "two")
    assert commands.ran == []


def test_unpacked_package(commands: Commands) -> None:
    """It is fetched once, also without lists, into a folder that no other user can change."""
    folder = debian.unpack("one")
    assert [path.name for path in folder.iterdir()] == ["program"]
    assert debian.UNPACKED.stat().st_mode & 0o777 == 0o700
    count = len(commands.ran)
    assert debian.unpack("one") == folder
    assert len(commands.ran) == count


def test_package_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the system says of it is in the error, and no part of it is taken for the package."""
    failed = subprocess.CompletedProcess((), 100, "", "no network")
    monkeypatch.setattr(subprocess, "run", lambda words, **options: failed)
    monkeypatch.setattr(debian, "UNPACKED", tmp_path / "debian")
    with pytest.raises(debian.MissingProgramError, match="no network"):
        debian.unpack("one")
    assert list(debian.UNPACKED.iterdir()) == []


def test_command_that_is_not_there() -> None:
    """On another system the error names the command."""
    with pytest.raises(debian.MissingProgramError, match="no-such-program failed"):
        debian.run("no-such-program")
