"""The test site with error pages of its own."""

from __future__ import annotations

from tests.support.urls import urlpatterns

__all__ = ["handler403", "handler404", "urlpatterns"]

handler403 = "tests.support.views.page_403"
handler404 = "tests.support.views.page_404"
