"""From the cache, else from the Config Service, else the stale copy.

``loader``: the order of things for one document. ``concealing``: the same where denials are hidden.
``flights``: callers of a process share fetches; how many one user may have at a time.
``fetcher``: asks the service, and has the answer stored. ``calls``: tells of each such call.
``leased_fetcher``: takes the lease, so that one of several processes asks; the others wait for it.
``refusals``: what follows when the service answers 403, for the user and for the copy.
``deletions``, ``reasons``: what is believed.
``service_health``: its breaker, what documents lack, and the log lines about both.
``listing``: the ids of all instances.
``glance``: what a lookup would meet, for operators.
``projects``: which instance a project belongs to.
``failures``, ``notices``: the errors, signals and events that a lookup ends with.

Not here: whether the user may have it (``access``), and how a request is read (``request``).
"""
