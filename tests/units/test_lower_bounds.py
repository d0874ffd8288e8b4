"""The check that the environment ``oldest`` has what its name says."""

from __future__ import annotations

from tests.support.lower_bounds import above, lower_bounds


def test_each_dependency_has_a_lower_bound() -> None:
    """What the package and its extras need has one oldest version, which can be tested."""
    bounds = dict(lower_bounds())
    assert bounds.keys() >= {"Django", "requests", "msgspec", "cryptography", "django-redis"}


def test_what_is_newer_is_named() -> None:
    """One package that is not the oldest allowed is named, with both versions."""
    oldest = dict(lower_bounds())
    assert above(oldest.__getitem__) == []
    newer = oldest | {"requests": "2.99"}
    assert above(newer.__getitem__) == [f"requests 2.99, not {oldest['requests']}"]
