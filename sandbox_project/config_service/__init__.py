"""A reference Config Service: the contract of ``docs/reference/config-service.md`` on SQLite.

It is a site of its own, and knows nothing of the ``instance_lookup`` package that asks it.
"""
