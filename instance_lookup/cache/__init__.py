"""What was fetched, near and shared. One object owns it: ``tiers.TieredCache`` reads and stores.

``near``: ready entries in this process. ``pubsub``: hears and publishes invalidations.
``shared``: entries in a Django cache alias. ``generations``: which of them still count.
``keyvalue``: how a cache is asked. ``redis_client``: Redis at first hand; hides values from
instrumentation. ``former``: past values.
``outage`` and ``epochs``: what this process knows while the cache is down, and what changed.
``entry``, ``kinds``, ``keys``, ``codec``, ``encryption``, ``leniency``: how one is read.
``errors``, ``health``: whether the cache answers. ``scan``, ``stats``: what it holds.
``transactions``: reads of a database cache, outside those of the caller.
``instance_cache``: the public ``InstanceCache``, for management and tests.

A 404 is remembered in ``tiers.store_missing``. Not here: asking the service, and who may have it.
"""
