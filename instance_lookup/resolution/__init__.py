"""The steps of one lookup, in their order: which instance, its configuration, may the user have it.

``selection``: which instance the identifiers name, and whether that is its project's.
``lookups``: the steps from a context to a result; the resolver drives them in threads and in
coroutines.

Not here: how an entry is fetched (``fetching``), and who may have it (``access``).
"""
