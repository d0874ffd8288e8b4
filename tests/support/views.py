"""The views of the test site. Each tells the instance it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, get_user_model, login
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.views import View
from django.views.decorators.cache import cache_control, cache_page

from instance_lookup import AccessDenied, CacheError
from instance_lookup.access import HasRole, IsAdmin, IsOwner
from instance_lookup.decorators import InstanceRequiredMixin, instance_required

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest


def plain(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


@cache_control(public=True, max_age=60)
def public(request: Any) -> HttpResponse:
    return plain(request)


async def aplain(request: Any) -> HttpResponse:
    return HttpResponse((await request.ainstance_config()).instance_id)


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("untouched")


async def auntouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("untouched")


def thrice(request: Any) -> HttpResponse:
    """Read the config three times, ignore the first two errors, and return what the third gave."""
    for _ in range(2):
        try:
            str(request.instance_config.instance_id)
        except Exception:  # noqa: BLE001  # a view that goes on all the same
            continue
    return plain(request)


async def athrice(request: Any) -> HttpResponse:
    for _ in range(2):
        try:
            await request.ainstance_config()
        except Exception:  # noqa: BLE001  # a view that goes on all the same
            continue
    return await aplain(request)


async def unawaited(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


async def shared(request: Any) -> HttpResponse:
    """Use the twin, the attributes, and the user from a thread, all in one request."""
    config = await request.ainstance_config()
    await sync_to_async(lambda: request.user.pk)()
    again = await sync_to_async(lambda: request.instance_config.instance_id)()
    assert request.instance_config.instance_id == config.instance_id == again
    result = await request.ainstance_lookup()
    return HttpResponse(f"{again} {request.instance_lookup.source} {result.source}")


def logs_in(request: Any, username: str) -> HttpResponse:
    first = request.instance_config.instance_id
    login(request, get_user_model().objects.get_by_natural_key(username))
    return HttpResponse(f"{first} {_told(request)}")


async def alogs_in(request: Any, username: str) -> HttpResponse:
    first = (await request.ainstance_config()).instance_id
    await alogin(request, await sync_to_async(_user)(username))
    try:
        then = (await request.ainstance_config()).instance_id
    except AccessDenied:
        then = "denied"
    return HttpResponse(f"{first} {then}")


def stream(request: Any) -> StreamingHttpResponse:
    instance_id = request.instance_config.instance_id

    def parts() -> Iterator[str]:
        yield instance_id
        yield "!"

    return StreamingHttpResponse(parts())


def varies(request: Any) -> HttpResponse:
    response = plain(request)
    response.headers["Vary"] = "Accept-Language"
    return response


def ignores(request: Any) -> HttpResponse:
    """Do without, where there is no instance."""
    return HttpResponse(_told(request))


def cache_broken(request: HttpRequest) -> HttpResponse:
    raise CacheError("the cache is broken")


def broken(request: Any) -> HttpResponse:
    config = request.instance_config
    raise ZeroDivisionError(f"in {config.instance_id}")


def page(request: HttpRequest) -> TemplateResponse:
    template = engines["django"].from_string(str(request.GET["source"]))
    return TemplateResponse(request, template, {})


async def apage(request: Any) -> HttpResponse:
    """Render where the event loop runs, having awaited the instance if asked to."""
    if "awaited" in request.GET:
        await request.ainstance_config()
    template = engines["django"].from_string(str(request.GET["source"]))
    try:
        return HttpResponse(template.render({}, request))
    except SynchronousOnlyOperation as exc:
        return HttpResponse(f"SynchronousOnlyOperation: {exc}")


@instance_required
def required(request: Any) -> HttpResponse:
    return plain(request)


@instance_required
async def arequired(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


@instance_required(policy=IsOwner())
def owners(request: Any) -> HttpResponse:
    return plain(request)


@instance_required(policy=IsAdmin())
async def aadmins(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


@instance_required(policy=HasRole("editor"))
async def aeditors(request: Any) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


cached = cache_page(60)(plain)
acached = cache_page(60)(aplain)
cached_within = instance_required(cache_page(60)(plain))
cached_around = cache_page(60)(required)
cached_untouched = cache_page(60)(untouched)


class Mixed(InstanceRequiredMixin, View):
    def get(self, request: Any) -> HttpResponse:
        return plain(request)


class AMixed(InstanceRequiredMixin, View):
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id)


class MixedForOwners(Mixed):
    instance_policy = IsOwner()


class AMixedForOwners(AMixed):
    instance_policy = IsOwner()


def page_403(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(f"<h1>Our own 403: {exception}</h1>", status=403)


def page_404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(f"<h1>Our own 404: {exception}</h1>", status=404)


def _told(request: Any) -> str:
    try:
        return str(request.instance_config.instance_id)
    except AccessDenied:
        return "denied"


def _user(username: str) -> Any:
    return get_user_model().objects.get_by_natural_key(username)
