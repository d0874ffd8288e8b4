"""What happens, for those who want to know. Sent with ``send_robust``: no receiver fails a request.

Every signal has the keyword ``instance_id``; none ever carries a config or a secret.
"""

from __future__ import annotations

from django.dispatch import Signal

instance_resolved = Signal()
"""A lookup was answered. ``source``, ``user_id``, ``request_id``."""

instance_stale_served = Signal()
"""An answer came from a stale copy. ``age`` in seconds, ``user_id``, ``request_id``."""

instance_rejected = Signal()
"""The Config Service answered with something unusable, which was not stored. ``reason``."""

instance_invalidated = Signal()
"""An entry was invalidated or, if ``expired``, marked stale. ``instance_id`` ``None``: all."""

access_denied = Signal()
"""A user was refused. ``user_id``, ``request_id``, ``by``: ``"policy"`` or ``"service"``."""
