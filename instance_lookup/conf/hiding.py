"""Keeps passwords out of what Django shows of the settings: debug pages, and mails to admins.

Django masks a setting whose name says ``TOKEN``, ``KEY`` or ``SECRET``, but no URL with a password.
"""

from __future__ import annotations

from django.conf import settings

from instance_lookup.conf import NAME, on_change
from instance_lookup.frozen import hide, masked_url

_URLS = ("CONFIG_SERVICE_URL", "CONFIG_SERVICE_PROXY", "CONFIG_SERVICE_STREAM")


def hide_urls() -> None:
    """Put into the settings URLs that are shown as nothing but their length, now and from now on.

    Only those with a user, password or query. The project's own dict stays as it is.
    """
    _hide()
    on_change(_hide)


def _hide() -> None:
    raw = getattr(settings, NAME, None)
    if not isinstance(raw, dict):
        return
    urls = {name: raw.get(name) for name in _URLS}
    hidden = {
        name: hide(url) for name, url in urls.items() if type(url) is str and masked_url(url) != url
    }
    if hidden:
        setattr(settings, NAME, raw | hidden)
