"""One module for each row of the table: ``measure(effort)`` returns its results.

Each runs in a process of its own: no threads, pools or pinned cores of another one are in its way.
"""

from __future__ import annotations

NAMES = (
    "near",
    "steps",
    "shared",
    "concurrent",
    "lag",
    "herd",
    "attach",
    "crowd",
    "outage",
    "propagation",
    "push",
    "races",
    "site",
    "scale",
    "sizes",
    "sealed",
    "throttled",
)
