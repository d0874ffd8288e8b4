"""Threads, and what keeps them from doing one thing twice. Knows nothing of instances.

``pools``: every pool of threads, and how many threads each of them, and each user, may have.
``threads``: what a pool is: daemon threads that do each job in the context of its caller.
``crew``: the jobs of a pool; its lanes keep each user to a number of threads.
``coalescing``: threads, or coroutines, that want the same read share one.
``single_flight``: callers of one fetch wait for one future.
``steps``: one generator of decisions drives the sync and the async twin.
``deferred``: values that take I/O, and so are not read first in an event loop.
``first_use``: what begins with a process's first lookup.
``pace``: how many things a second may begin.
``forks``: how a forked child makes what belongs to threads again: by each ``_start_over``.

Not here: who may ask, what is asked for, and how long anything may take.
"""
