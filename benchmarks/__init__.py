"""Measurements. ``python -m benchmarks`` runs all of them."""

from __future__ import annotations
