"""Work that is put in a queue and done elsewhere: whose it is goes along, signed.

``carried``: what goes along, and its signature. ``publishing``: what that is, of the code that
publishes. ``job``: the one that runs here. ``running``: who may have it is decided when the job
runs, as of then. ``warming``: the cache, filled a chunk at a time.

No queue is imported here: each has its module in ``contrib``.
"""
