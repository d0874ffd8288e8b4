"""Flags of the current instance for OpenFeature, with its SDK. Needs the extra ``openfeature``.

::

    from openfeature import api
    from instance_lookup.contrib.openfeature import InstanceProvider

    api.set_provider(InstanceProvider(field="flags"))
    api.get_client().get_boolean_value("beta", False)

``provider``: answers. ``values``: of which kind a value is. ``changes``: what is told of
invalidations.
"""

from __future__ import annotations

from instance_lookup.contrib.openfeature.provider import InstanceProvider

__all__ = ["InstanceProvider"]
