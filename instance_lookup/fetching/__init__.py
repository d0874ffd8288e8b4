"""From the cache, else from the Config Service, else the stale copy.

``loader``: the order of things for one document. ``concealing``: the same where denials are hidden.
``flights``: callers of a process share fetches; what one user may take of them.
``fetcher``: asks the service, and has the answer stored.
``leased_fetcher``: of several processes one asks, and the others wait for it.
``refusals``: what a 403 of the service means, here only.
``deletions``, ``reasons``: what is believed. ``service_health``: what the log says.
``projects``: which instance a project belongs to.
``failures``, ``notices``: the errors and the signals that a lookup ends with.

Not here: whether the user may have it (``access``), and how a request is read (``request``).
"""
