"""Signals that tell a project what happens. A receiver that fails does not fail the request.

Each signal has the keyword ``instance_id``. None carries a configuration or a secret.

The page docs/reference/signals.md is made of this module. After a change run
``python -m tests.reference``.
"""

from __future__ import annotations

from django.dispatch import Signal

instance_resolved = Signal()
"""A lookup was answered.

* ``instance_id``: what was found.
* ``source``: where the answer came from, a ``Source``.
* ``user_id``: who asked. ``None``: an anonymous caller, or the site itself.
* ``request_id``: the id of the request, as in the log and in error answers.
"""

instance_stale_served = Signal()
"""A lookup was answered with a stale copy, since the Config Service failed or was slow.

* ``instance_id``: what was found.
* ``age``: seconds since the Config Service was asked for this copy.
* ``user_id``: who asked. ``None``: an anonymous caller, or the site itself.
* ``request_id``: the id of the request, as in the log and in error answers.
"""

instance_rejected = Signal()
"""The Config Service gave an answer that cannot be used. It was not stored.

* ``instance_id``: what was asked for, an instance or a project.
* ``reason``: what is wrong with the answer, in words.
"""

instance_invalidated = Signal()
"""This process invalidated or expired an entry.

Its own code did, or a command, or an event of the Config Service. A block that is set or lifted
invalidates as well. Not sent for a 404 that drops a copy, for a project, and in the processes that
only hear of it.

* ``instance_id``: which one. ``None``: all.
* ``expired``: true where the entry was marked stale, false where it may never be served again.
"""

access_denied = Signal()
"""A lookup was refused: by ``ACCESS_POLICY``, by the Config Service, or by a block.

What a view's ``policy=`` or a permission class refuses beyond that is in the log only. So is an
anonymous caller who is refused at once, since ``ALLOW_ANONYMOUS`` is off:
docs/operations/logging.md#refusals. The ``policy`` of ``use_instance`` only raises
``AccessDenied``.

* ``instance_id``: what they asked for. ``None``: they named a project.
* ``by``: who refused: ``"policy"``, ``"service"`` or ``"block"``.
* ``user_id``: who asked. ``None``: an anonymous caller, or the site itself.
* ``request_id``: the id of the request, as in the log and in error answers.
"""
