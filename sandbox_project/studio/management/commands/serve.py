"""``manage.py serve``: the two sites share their development server, and nothing else."""

from __future__ import annotations

from config_service.management.commands.serve import Command

__all__ = ["Command"]
