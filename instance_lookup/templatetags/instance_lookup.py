"""``{% load instance_lookup %}``."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.filter
def has_feature(instance: Any, name: str) -> bool:
    """Tell whether the instance has the feature: ``{% if instance|has_feature:"beta" %}``."""
    return bool(instance.features.get(name, False))
