"""For the tests of projects that use this app. Nothing else of the app imports it.

``override``: one configuration for all lookups. ``service``, ``servers``: a Config Service that
fails when told to. ``cache``: a cache that does. ``contract``: the tests that a backend must pass.
``webhooks``: signed deliveries.
"""

from __future__ import annotations

from instance_lookup.testing.cache import CacheFaults, FaultyCache, faulty_cache
from instance_lookup.testing.contract import ConfigServiceContract
from instance_lookup.testing.override import override_instance_config
from instance_lookup.testing.servers import Answer, Fault
from instance_lookup.testing.service import FakeConfigService
from instance_lookup.testing.webhooks import WebhookDelivery, webhook_delivery

__all__ = [
    "Answer",
    "CacheFaults",
    "ConfigServiceContract",
    "FakeConfigService",
    "Fault",
    "FaultyCache",
    "WebhookDelivery",
    "faulty_cache",
    "override_instance_config",
    "webhook_delivery",
]
