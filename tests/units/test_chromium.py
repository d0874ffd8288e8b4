from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.chromium import find_chromium
from tests.support.debian import MissingProgramError


def test_machine_without_browser_gets_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no browser and none can be installed, the error says what to do."""
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(MissingProgramError, match="apt-get install chromium"):
        find_chromium()


def test_browser_is_installed_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Debian, root gets the browser by the tests themselves."""
    there = {"apt-get": "/usr/bin/apt-get"}

    def install(words: tuple[str, ...], **options: object) -> subprocess.CompletedProcess[str]:
        if "install" in words:
            there["chromium"] = "/usr/bin/chromium"
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(shutil, "which", there.get)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", install)
    assert find_chromium() == "/usr/bin/chromium"


def test_browser_that_cannot_be_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package manager says of its failure is in the error."""
    there = {"apt-get": "/usr/bin/apt-get"}
    failed = subprocess.CompletedProcess((), 100, "", "no network")
    monkeypatch.setattr(shutil, "which", there.get)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(subprocess, "run", lambda words, **options: failed)
    with pytest.raises(MissingProgramError, match="no network"):
        find_chromium()
