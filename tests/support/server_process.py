"""A server process for the tests, on a free port, gone when the tests are, however they end."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from time import monotonic, sleep
from typing import Self

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0

# Reads until this process is gone, however it ended, then cleans up behind it.
GUARD = 'read -r _; kill -9 "$1" 2>/dev/null; rm -rf "$2"'


class ServerError(Exception):
    """The server could not be found, started or reached."""


def free_port() -> int:
    """Return a port of the loopback interface that is free, and stays so until it is asked for.

    It is below the ports that the system hands out: a server or a client of another test, which
    takes any port, does not get this one, not even while a server of ours is down.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)  # not `random`: its seed is that of all workers
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class ServerProcess(ABC):
    """A server; ``start`` after ``stop`` or ``kill`` comes back, empty, on the same port."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.directory = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @abstractmethod
    def _words(self, port: int) -> list[str]:
        """Return the program and its arguments, to listen on ``port`` of the loopback interface.

        ``directory`` is there already, and is removed behind the server.
        """

    @abstractmethod
    def _is_ours(self, connection: socket.socket) -> bool:
        """Tell whether what answers is the process that was started, and ready."""

    def start(self) -> None:
        """Start, and return when the server answers."""
        if self._process is not None:
            raise ServerError("the server is running already")
        # Another process may take the port after we found it and before the server binds it.
        for ports_left in reversed(range(1 if self.port else 3)):
            port = self.port or free_port()
            self._launch(port)
            if self._answers(port):
                self.port = port
                return
            log = self._log()
            self.stop()
            if not ports_left:
                raise ServerError(f"no answer on port {port} in {START_TIMEOUT} s:\n{log}")

    def stop(self) -> None:
        """End the process, also a paused one, and remove what it wrote. Stopping twice is fine."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._clean_up()

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._clean_up()

    def pause(self) -> None:
        """Let the server accept connections but answer nothing, until ``resume``."""
        self._signal(signal.SIGSTOP)
        # Not until then is it certain that nothing more is answered.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def _launch(self, port: int) -> None:
        self.directory = tempfile.mkdtemp(prefix="instance-lookup-server-")
        try:
            words = self._words(port)
        except BaseException:  # there is none, so the test fails or is skipped
            shutil.rmtree(self.directory)
            raise
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self._process.pid), self.directory],
            stdin=subprocess.PIPE,
            # A Ctrl-C goes to us, and we end both.
            start_new_session=True,
        )

    def _answers(self, port: int) -> bool:
        deadline = monotonic() + START_TIMEOUT
        while monotonic() < deadline and self._process and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    # A stranger on our port would answer as well, but not with our pid.
                    if self._is_ours(connection):
                        return True
            except OSError:
                pass
            sleep(0.01)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ServerError("the server is not running")
        self._process.send_signal(number)

    @property
    def _log_path(self) -> Path:
        return Path(self.directory) / "server.log"

    def _log(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def _clean_up(self) -> None:
        # The guard first: left alone it would kill a process id that may be another's by now.
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self.directory, ignore_errors=True)
        self._process = None
