"""When to ask a backend, how often, and for how long. Knows nothing of what is asked for.

``breaker``: stop asking what is down, and try again with one probe.
``backoff``: what goes on failing is left alone by itself, for a while.
``health``: log a change of state once, not each failure.
``deadline``: the moment by which a lookup ends. ``backends.sockets`` keeps it on the socket.
``budget``: how many unknown ids one user may have asked for.
``expiring``: facts that are forgotten after a while.

Not here: what a failure means for a request, which is in ``fetching``.
"""
