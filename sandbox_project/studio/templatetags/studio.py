"""``{% load studio %}``."""

from __future__ import annotations

from django import template

from studio.standing import duration

register = template.Library()
register.filter("duration", duration)
