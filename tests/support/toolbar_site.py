"""A site with django-debug-toolbar, which has models and so has to be installed from the start.

``python -m tests.support.toolbar_site`` prints a JSON list of the pages that its views answer with.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import django
from django.conf import settings
from django.http import HttpResponse

from tests import settings as ours

urlpatterns: list[Any] = []


def page(request: Any) -> HttpResponse:
    return HttpResponse(f"<html><body>{request.instance_config.instance_id}</body></html>")


async def apage(request: Any) -> HttpResponse:
    config = await request.ainstance_config()
    return HttpResponse(f"<html><body>{config.instance_id}</body></html>")


def empty(request: Any) -> HttpResponse:
    return HttpResponse("<html><body>nothing</body></html>")


def show(request: Any) -> bool:
    return True


def sets_user(get_response: Any) -> Any:
    from tests.support.doors import OLGA

    def middleware(request: Any) -> HttpResponse:
        request.user = OLGA
        response: HttpResponse = get_response(request)
        return response

    return middleware


def main() -> None:
    from instance_lookup.backends.memory import DictConfigService

    service = DictConfigService()
    options = {name: value for name, value in vars(ours).items() if name.isupper()}
    options |= {
        "DEBUG": True,
        "ROOT_URLCONF": __name__,
        "STATIC_URL": "static/",
        "INSTALLED_APPS": [
            *options["INSTALLED_APPS"],
            "debug_toolbar",
        ],
        "MIDDLEWARE": [
            "debug_toolbar.middleware.DebugToolbarMiddleware",
            "tests.support.toolbar_site.sets_user",
            "instance_lookup.middleware.InstanceConfigMiddleware",
        ],
        "INSTANCE_LOOKUP": {"CONFIG_SERVICE_BACKEND": service},
        "DEBUG_TOOLBAR_PANELS": ["instance_lookup.contrib.debug_toolbar.InstanceLookupPanel"],
        "DEBUG_TOOLBAR_CONFIG": {
            "SHOW_TOOLBAR_CALLBACK": "tests.support.toolbar_site.show",
            "RENDER_PANELS": True,
        },
    }
    settings.configure(**options)
    django.setup()
    from debug_toolbar.toolbar import debug_toolbar_urls
    from django.test import AsyncClient, Client
    from django.urls import path

    from tests.support.doors import OLGA, owned_by

    views: dict[str, Any] = {"page": page, "apage": apage, "empty": empty}
    urlpatterns.extend(path(name, view) for name, view in views.items())
    urlpatterns.extend(debug_toolbar_urls())
    service.instances["acme"] = owned_by(OLGA)
    headers = {"x-instance-id": "acme"}
    shown: list[Any] = [Client().get(f"/{name}", headers=headers) for name in views]
    shown += [asyncio.run(AsyncClient().get(f"/{name}", headers=headers)) for name in views]
    sys.stdout.write(
        json.dumps({"pages": [each.content.decode() for each in shown], "calls": service.calls})
    )


if __name__ == "__main__":
    main()
