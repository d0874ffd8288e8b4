"""One request's lookup: what ``request.instance_config`` and its siblings are.

``attributes``: gives a request its attributes. ``lookup``: looks up, and keeps the answer.
``seen``: what of a request decides its lookup, and whether that has changed since.
``response``: the headers that the answer needs. ``problems``: the answer to a failed lookup.
``guard``: a check before a view. ``drf``: the request of Django REST framework, whose user decides.
``scope``: what stands for a scope of ASGI. ``current``: what code runs for, a request or a block.
``typed``: the type of requests, for a site's own annotations.

The middleware attaches it; decorators and permissions use it. Not here: which instance a request
names (``identifiers``, asked by ``selection``), and who the user is (``users``, ``context``).
"""

from __future__ import annotations

# Alone: the others import DRF, which wants settings, and settings may name what is in here.
from instance_lookup.request.typed import InstanceRequest

__all__ = ["InstanceRequest"]
