"""Management commands: they parse and print.

The work is done by functions that a project may call as well: ``instance_lookup.warming``,
``invalidation`` and ``inspection``, with what came of it in ``outcomes``.
``base``, ``progress`` and ``table`` are what the commands share.
"""
