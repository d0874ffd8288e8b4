"""Pages, API, admin, and what the Config Service calls."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.generic import RedirectView
from rest_framework.authtoken.views import obtain_auth_token

from studio import api, errors, naive, views

urlpatterns = [
    path("", views.home, name="home"),
    path("instances/<str:instance_id>/jobs/", views.send_job, name="send-job"),
    # "path", so that an id with a slash is refused as malformed instead of not being routed.
    path("instances/<path:instance_id>/", views.home, name="instance"),
    path("projects/<path:project_id>/", views.home, name="project"),
    path("pick/", views.pick, name="pick"),
    path("cache/", views.cache_panel, name="cache"),
    path("log-in/", views.LogIn.as_view(), name="log-in"),
    path("log-out/", LogoutView.as_view(), name="log-out"),
    # Here the Config Service tells of changes: instance-lookup/webhook/.
    path("instance-lookup/", include("instance_lookup.urls")),
    path("api/token/", obtain_auth_token),
    path("api/instance/", api.InstanceView.as_view()),
    path("api/instances/<str:instance_id>/", api.InstanceView.as_view()),
    path("api/jobs/", api.JobView.as_view()),
    path("api/upscale/", api.UpscaleView.as_view()),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url="/static/studio/favicon.svg")),
]
if settings.STUDIO_NAIVE:
    urlpatterns.append(path("naive/<str:instance_id>/", naive.show))

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
