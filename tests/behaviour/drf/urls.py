from __future__ import annotations

from django.urls import path

from tests.behaviour.drf import views
from tests.support import urls

urlpatterns = [
    *urls.urlpatterns,
    path("api", views.Api.as_view()),
    path("session_first", views.SessionFirst.as_view()),
    path("cached_api", views.Cached.as_view()),
    path("open", views.Open.as_view()),
    path("owners_api", views.Owners.as_view()),
    path("admins_api", views.Admins.as_view()),
    path("beta", views.Beta.as_view()),
    path("owners_of_beta", views.OwnersOfBeta.as_view()),
    path("refuses", views.RefusesByItself.as_view()),
]
