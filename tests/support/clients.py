"""Clients of a site."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.test import Client


def log_in(username: str = "olga", **fields: Any) -> Client:
    """Return a client with the session of a new user, who has these ``fields``."""
    client = Client()
    client.force_login(User.objects.create_user(username, **fields))
    return client
