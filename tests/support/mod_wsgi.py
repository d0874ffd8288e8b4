"""Apache with mod_wsgi for tests: built for this Python, and installed where it is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("mod_wsgi-express")
_APACHE = (
    ("apt-get", "update", "--quiet"),
    ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "apache2-dev", "apache2"),
)
_MODULE = (sys.executable, "-m", "pip", "install", "--quiet", "mod_wsgi>=5")
_NOBODY = 65534


class NoApacheError(Exception):
    """There is no Apache to build mod_wsgi with, and it cannot be installed."""


def install_mod_wsgi() -> None:
    """Have ``mod_wsgi-express`` beside this Python. Raises ``NoApacheError``."""
    with (Path(tempfile.gettempdir()) / "instance-lookup-mod-wsgi").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of the tests come together
        if PROGRAM.exists():
            return
        if shutil.which("apxs") is None:
            if shutil.which("apt-get") is None or os.geteuid() != 0:
                raise NoApacheError(
                    "mod_wsgi is built with Apache's apxs, and only root on Debian can install it"
                    " here. Install apache2-dev and apache2, and run the tests again."
                )
            for words in _APACHE:
                _run(words)
        _run(_MODULE)


def as_unprivileged(server_root: Path) -> list[str]:
    """Return words before the command of a server that refuses to serve as root.

    The user "nobody" gets ``server_root`` to write to, and may read what root may read: the Python
    of these tests may lie in root's own folders.
    """
    if os.geteuid() != 0:
        return []
    os.chown(server_root, _NOBODY, _NOBODY)
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return ["setpriv", *user, *may_read]


def _run(words: tuple[str, ...]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoApacheError(f"{' '.join(words)} failed: {done.stderr.strip()[-500:]}")
