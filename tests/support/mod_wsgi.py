"""Apache with mod_wsgi for tests: built for this Python, and installed where it is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support.debian import alone, install, run

PROGRAM = Path(sys.executable).with_name("mod_wsgi-express")
_APACHE = ("apache2-bin", "apache2-dev")
"""Not the package apache2, which starts a server of its own."""
_MODULE = (sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "mod_wsgi>=6.1.1")
_NOBODY = 65534


def install_mod_wsgi() -> None:
    """Have ``mod_wsgi-express`` beside this Python. Raises ``MissingProgramError``."""
    with alone():
        if PROGRAM.exists():
            return
        if shutil.which("apxs") is None:
            install(*_APACHE)
        run(*_MODULE)


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
    # Else access(2), by which Apache looks at folders, forgets what the user may read.
    return ["setpriv", "--securebits=+no_setuid_fixup", *user, *may_read]
