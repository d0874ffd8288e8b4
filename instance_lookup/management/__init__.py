"""Management commands: they parse and print.

The work is done by functions that a project may call as well: ``instance_lookup.warming``,
``invalidation``, ``inspection`` and ``operations``, with what came of it in ``outcomes``.
``base``, ``output`` and ``progress`` are what the commands share; ``table``, ``compared`` and
``screen`` make the text that they show.
"""
