"""A learner who follows the tutorial: does what its blocks say, and sees what they show."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.documents import Block

TIMEOUT = 60
PATIENCE = 20
"""Seconds for which a command is tried again."""
CTRL_C = "^C\n"
LEFT_OUT = "…\n"
"""A line of the page that stands for any number of lines."""

_GOES_ON = {"mysite/settings.py", "mysite/urls.py"}
"""Files of ``startproject``, which the lesson adds to. It writes all others."""

_VARYING = {
    r"\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d": "DATE",
    r"\b[0-9a-f]{32}\b": "REQUEST-ID",
    r"\b\d+ (h|min|s)( \d+ (min|s))?\b": "AGE",
    r"(?<=\S) {2,}": " ",  # between columns, which are as wide as what is in them
    r"(?<=AGE )\d+(?= )": "BYTES",  # of the time when it was stored, some digits are left out
    r"(?<=Ran 3 tests in )[\d.]+": "SECONDS",
    r"(?<=127\.0\.0\.1:)\d+(?= gave no usable answer for instance 'acme': status)": "PORT",
}
"""What differs each time, and what both the page and the output get in its place, in this order."""


def alike(text: str) -> str:
    """Return ``text`` without what differs from one learner to another."""
    for pattern, name in _VARYING.items():
        text = re.sub(pattern, name, text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def is_shown(shown: str, printed: str) -> bool:
    """Tell whether the page shows what was printed, but for the lines that it leaves out."""
    parts = re.split(rf"^{LEFT_OUT}", alike(shown), flags=re.MULTILINE)
    return (
        re.fullmatch("(.*\n)?".join(map(re.escape, parts)), alike(printed), re.DOTALL) is not None
    )


@dataclass
class Terminal:
    """A terminal in which a server runs."""

    log: Path
    _seen: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self, script: str, folder: Path, environment: Mapping[str, str]) -> None:
        """Run a script whose last command serves."""
        assert self._process is None, "something runs in this terminal"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["sh", "-e", "-c", script],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def sees(self, shown: str) -> None:
        """Wait until what was printed since the last time is what the page shows."""

        def new() -> str:
            return self.log.read_text(encoding="utf-8")[self._seen :]

        printed = _awaited(self.log.stem, shown, new, TIMEOUT)
        self._seen += len(printed)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Press Ctrl-C, and wait for the end. Kill what does not end, and raise."""
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


class Learner:
    """Does what each block of a page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {"8000": free_port(), "8001": free_port()}
        self._terminals = {
            name: Terminal(folder.parent / f"{name}.log") for name in ("service", "site")
        }
        activate = folder / ".venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.write_text("# The environment of the tests is active already.\n", encoding="utf-8")

    def follow(self, block: Block) -> None:
        """Write a block's file, or do in its terminal what it says."""
        text = self._here(block.text)
        terminal = self._terminals.get(block.comment.get("terminal", ""))
        if block.file:
            self._write(block.file, text)
        elif terminal is None:
            self._run(text)
        elif text == CTRL_C:
            terminal.stop()
        else:
            script, shown = _parts(text)
            if script:
                terminal.start(self._served(script), self._folder, self._environment)
            terminal.sees(shown)

    def saw(self, terminal: str) -> str:
        """Return all that was printed in the terminal of a server."""
        return self._terminals[terminal].log.read_text(encoding="utf-8")

    def leave(self) -> None:
        """Close all terminals, also when what runs in one of them does not end."""
        with ExitStack() as stack:
            for terminal in self._terminals.values():
                stack.callback(terminal.stop, signal.SIGTERM)

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        with path.open("a" if name in _GOES_ON else "w", encoding="utf-8") as file:
            file.write(text)

    def _run(self, text: str) -> None:
        """Run each command, and see that it prints what the page shows, if that shows anything.

        A command that prints something else is run again for a while: after a failure the site
        leaves the Config Service alone for a second, and a person types no faster.
        """
        for command in re.split(r"^(?=\$ )", text, flags=re.MULTILINE)[1:]:
            script, shown = _parts(command)
            _awaited(script, shown, partial(self._printed, script), PATIENCE)

    def _printed(self, script: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def _here(self, text: str) -> str:
        """Return ``text`` with ports that are free, and nothing else changed."""
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        return text

    def _served(self, script: str) -> str:
        """Return a script that serves, on our port."""
        return re.sub(r"runserver$", f"runserver {self._ports['8000']}", script)

    @property
    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "PYTHON")) and not name.lower().endswith("_proxy")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**inherited, "PATH": path, "PYTHONUNBUFFERED": "1"}  # as on a terminal


def _parts(text: str) -> tuple[str, str]:
    """Return the commands of a block, and what the page says that they print."""
    commands = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    return "\n".join(commands), re.sub(r"^\$ .*\n", "", text, flags=re.MULTILINE)


def _awaited(where: str, shown: str, look: Callable[[], str], seconds: float) -> str:
    """Look until what is printed is what the page shows, if it shows anything; return it."""
    printed = ""

    def came() -> bool:
        nonlocal printed
        printed = look()
        return not shown or is_shown(shown, printed)

    try:
        wait_until(came, seconds)
    except AssertionError as exc:
        message = f"{where}: {exc}\nThe page shows:\n{shown}\nPrinted was:\n{printed}"
        raise AssertionError(message) from exc
    return printed
