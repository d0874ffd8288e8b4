"""Writes what docs/reference says of the code: settings, errors, signals, metrics and so on.

The pages call these modules between marks of cog (``<!-- [[[cog … ]]] -->``), and hold what they
returned, so that it can be read without running anything. ``python -m tests.reference`` brings the
pages up to date; tests/docs/test_reference.py fails where one is not.
"""
