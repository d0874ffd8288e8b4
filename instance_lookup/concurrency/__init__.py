"""Threads, and what keeps them from doing one thing twice. Knows nothing of instances.

``pools``: every pool of threads that there is, and how many threads they may have together.
``threads``: what a pool is: daemon threads that do each job in the context of its caller.
``crew``: the queue of a pool, and its lanes, which hold a user to a number of threads.
``coalescing``: threads, or coroutines, that want the same read share one.
``single_flight``: callers of one fetch wait for one future.
``steps``: one generator of decisions drives the sync and the async twin.
``deferred``: values that take I/O, and so are not read first in an event loop.
``forks``: what a child process has to build again.

Not here: who may ask, what is asked for, and how long anything may take.
"""
