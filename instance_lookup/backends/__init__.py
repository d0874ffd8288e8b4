"""Where configurations come from: one module for each kind of source.

``base``: what a backend is, and what it is asked with; a project's own derives from it.
``http``: a Config Service over HTTP. ``headers``: what is sent. ``answers``: what a status and a
body mean. ``transport``: connections, also through a proxy, and when one is used again.
``sockets``: what ends an exchange at its deadline, and where an answer ends.
``access_tokens``: a credential that expires, fetched again in time.
``file`` and ``memory``: a JSON file, and a dict for tests.

Not here: caching, trying again, and judging who may have it.
"""
