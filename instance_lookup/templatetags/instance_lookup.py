"""``{% load instance_lookup %}``."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.filter
def has_feature(instance: Any, name: str) -> bool:
    """Tell whether the instance has the feature: ``{% if instance|has_feature:"beta" %}``."""
    # Django's own 400 and 500 pages are rendered without context processors: there is none.
    features = getattr(instance, "features", None)
    return bool(features and features.get(name, False))
