"""The WSGI application."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")

# The stylesheets come from here too: a sandbox has no web server in front.
application = StaticFilesHandler(get_wsgi_application())
