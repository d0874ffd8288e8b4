"""What a backend of a site's own may raise, and the label that metrics have for it."""

from __future__ import annotations

from instance_lookup import ConfigServiceUnavailable
from instance_lookup.backends.answers import Reason

ERRORS = [
    (ConfigServiceUnavailable("down", reason="timeout"), "timeout"),
    (ConfigServiceUnavailable("down", reason=Reason.STATUS), "status"),
    (ConfigServiceUnavailable("down", reason="ok"), "other"),
    (ConfigServiceUnavailable("down", reason="disk 7\n" * 1000), "other"),
    (ConfigServiceUnavailable("down", reason=["disk", 7]), "other"),
    (ConfigServiceUnavailable("down"), "other"),
    (ZeroDivisionError(), "other"),
]
