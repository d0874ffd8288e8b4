"""What was fetched: in this process (near), and in the cache of all processes (shared).

``tiers``: ``TieredCache`` reads and stores all of it. ``reads``: the step of a lookup that reads.
``near``: ready entries in this process. ``pubsub``: hears and publishes invalidations.
``shared``: entries in a Django cache alias. ``reading``: what a look there finds.
``generations``: which entries still count. ``tokens``, ``sealed_tokens``, ``newest``: the parts of
generations, without keys and with them. ``proofs``: which of those are believed. ``looks``: what a
look at all that means.
``blocks``: instances that no user gets for a time.
``keyvalue``: the commands that a cache is given. ``redis_client``: Redis through its own client,
with values hidden from instrumentation. ``former``: values that an older release stored.
``outage`` and ``epochs``: what this process knows while the cache is down, and what changed.
``entry``, ``kinds``, ``keys``, ``codec``, ``encryption``, ``leniency``, ``faults``: how one
is read.
``errors``, ``health``, ``telling``: whether the cache answers, and those who watch that.
``scan``, ``peeks``, ``stats``: what it holds.
``transactions``: reads of a database cache, outside those of the caller.
``instance_cache``: the public ``InstanceCache``, for management and tests.

A 404 is remembered in ``tiers.store_missing``. Not here: asking the service, and who may have it.
"""
