from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import path

from tests.support import views

if TYPE_CHECKING:
    from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = [
    path("plain", views.plain),
    path("public", views.public),
    path("aplain", views.aplain),
    path("untouched", views.untouched),
    path("auntouched", views.auntouched),
    path("thrice", views.thrice),
    path("athrice", views.athrice),
    path("unawaited", views.unawaited),
    path("shared", views.shared),
    path("logs_in/<username>", views.logs_in),
    path("alogs_in/<username>", views.alogs_in),
    path("stream", views.stream),
    path("varies", views.varies),
    path("ignores", views.ignores),
    path("broken", views.broken),
    path("cache_broken", views.cache_broken),
    path("page", views.page),
    path("apage", views.apage),
    path("required", views.required),
    path("arequired", views.arequired),
    path("owners", views.owners),
    path("aadmins", views.aadmins),
    path("aeditors", views.aeditors),
    path("cached", views.cached),
    path("acached", views.acached),
    path("cached_within", views.cached_within),
    path("cached_around", views.cached_around),
    path("cached_untouched", views.cached_untouched),
    path("mixed", views.Mixed.as_view()),
    path("amixed", views.AMixed.as_view()),
    path("mixed_owners", views.MixedForOwners.as_view()),
    path("amixed_owners", views.AMixedForOwners.as_view()),
]
