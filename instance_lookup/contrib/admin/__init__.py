"""Pages in Django's admin: which instances the cache holds, what a request gets, and what to do.

Add ``"instance_lookup.contrib.admin"`` to ``INSTALLED_APPS``. The app has no table and no
migration, only permissions. docs/operations/admin.md describes the pages.

The pages only show and ask: ``inspection`` and ``operations`` know the answers, ``warming`` and
``invalidation`` do the work.
"""
