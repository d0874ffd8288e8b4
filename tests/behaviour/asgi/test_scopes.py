"""``scope["instance_config"]``: which instance a scope names, for whom, and what is current."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject

from instance_lookup import (
    AccessDenied,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
    LookupUser,
    Source,
    acurrent_instance,
    current_instance,
    get_resolver,
    use_instance,
)
from instance_lookup.asgi import InstanceConfigMiddleware
from instance_lookup.identifiers import (
    HeaderIdentifier,
    PathIdentifier,
    ProjectIdentifier,
    QueryIdentifier,
    SubdomainIdentifier,
    UserDefaultIdentifier,
)
from instance_lookup.logging import RequestFilter
from instance_lookup.testing import override_instance_config
from tests.support.doors import OLGA, SAM, Somebody, owned_by, serve
from tests.support.sockets import scope_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from instance_lookup.backends.memory import DictConfigService

IDENTIFIERS = [
    HeaderIdentifier(),
    QueryIdentifier(),
    PathIdentifier(),
    SubdomainIdentifier("example.com"),
    ProjectIdentifier(),
    UserDefaultIdentifier(),
]


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    service = serve(settings, IDENTIFIERS=IDENTIFIERS)
    service.instances |= {name: owned_by(OLGA, instance_id=name) for name in ("acme", "globex")}
    service.projects["website"] = "acme"
    return service


async def within(scope: Any, do: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    """Return what an application returns that has got ``scope`` from the middleware."""
    found: list[Any] = []

    async def application(inner: Any, receive: Any, send: Any) -> None:
        found.append(await do(inner))

    async def nothing(*args: Any) -> Any:
        raise AssertionError("nothing is sent or received")

    await InstanceConfigMiddleware(application, **options)(scope, nothing, nothing)
    return found[0]


async def _ask(scope: Any) -> Any:
    """Return the id of the scope's instance, or the error."""
    try:
        return (await scope["instance_config"]()).instance_id
    except InstanceLookupError as exc:
        return exc


async def ask(scope: Any) -> Any:
    return await within(scope, _ask)


def route(**kwargs: Any) -> Any:
    """Return what Channels says of the route."""
    return {"args": (), "kwargs": kwargs}


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("kind", ["websocket", "http"])
@pytest.mark.parametrize(
    "named",
    [
        pytest.param(scope_of("acme"), id="header"),
        pytest.param(scope_of(query_string=b"instance_id=acme"), id="query"),
        pytest.param(scope_of(query_string="instance_id=acme"), id="query-text"),
        pytest.param(scope_of(url_route=route(instance_id="acme")), id="route"),
        pytest.param(scope_of(url_route=route(project_id="website")), id="project"),
        pytest.param(scope_of(headers=[(b"host", b"Acme.example.com:80")]), id="subdomain"),
        pytest.param(scope_of("acme", query_string=b"instance_id=acme"), id="twice-the-same"),
        pytest.param(scope_of("acme", url_route=None), id="no-route"),
        pytest.param({"headers": [(b"x-instance-id", b"acme")]}, id="only-headers"),
    ],
)
async def test_scope_names_instance(named: Any, kind: str) -> None:
    extra = {"method": "POST"} if kind == "http" else {}
    assert await ask(named | extra | {"type": kind, "user": OLGA}) == "acme"


@pytest.mark.usefixtures("service")
async def test_default_of_the_user_is_the_last_resort() -> None:
    user = Somebody("olga", default_instance_id="globex")
    assert await ask(scope_of(user=user)) == "globex"
    assert await ask(scope_of("acme", user=user)) == "acme"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("named", "why"),
    [
        (scope_of("acme", query_string=b"instance_id=globex"), "names two instances"),
        (scope_of("acme", url_route=route(instance_id="globex")), "names two instances"),
        (scope_of(query_string=b"instance_id=acme&instance_id=globex"), "'acme,globex'"),
        (scope_of(query_string=b"instance_id=acme&instance_id=acme"), "'acme,acme'"),
        (scope_of(query_string=b"instance_id="), "'' is not a valid"),
        (scope_of(query_string=b"instance_id=\xff\xfe"), "is not a valid"),
        (scope_of(query_string=b"instance_id=%ff"), "is not a valid"),
        (scope_of(headers=[(b"x-instance-id", b"acme"), (b"x-instance-id", b"acme")]), "acme,acme"),
        (scope_of(headers=[(b"x-instance-id", b"\xff\xfeacme")]), "is not a valid"),
        (scope_of(headers=[(b"x-instance-id", "ácme".encode())]), "is not a valid"),
        (scope_of(headers=[(b"host", b"a b.example.com")]), "refused: DisallowedHost"),
        (scope_of(url_route=route(instance_id="../acme")), "is not a valid"),
        (scope_of(url_route=route(instance_id="acme%2F")), "is not a valid"),
        (scope_of(url_route=route(instance_id="acme\n")), "is not a valid"),
        (scope_of(url_route=route(instance_id="")), "is not a valid"),
        (scope_of("globex", url_route=route(project_id="website")), "does not belong to"),
        (scope_of(), "names no instance"),
    ],
)
async def test_scope_names_none_or_two(named: Any, why: str) -> None:
    error = await ask(named | {"user": OLGA})
    assert isinstance(error, InvalidContext)
    assert why in str(error)


@pytest.mark.usefixtures("service")
async def test_too_long_query_is_refused() -> None:
    query = "&".join(f"p{number}=" for number in range(2000))
    error = await ask(scope_of(query_string=query.encode(), user=OLGA))
    assert isinstance(error, InvalidContext)
    assert str(error) == "The request is refused: TooManyFieldsSent."


async def test_path_is_not_looked_up_among_djangos_urls(
    service: DictConfigService, settings: Any
) -> None:
    """The path of a socket means something else there, and so may its ``instance_id``."""
    settings.ROOT_URLCONF = "tests.behaviour.which.test_identifiers"
    assert isinstance(await ask(scope_of(path="/i/acme/", user=OLGA)), InvalidContext)


@pytest.mark.usefixtures("service")
async def test_both_are_awaited_each_time() -> None:
    async def both(scope: Any) -> Any:
        return await scope["instance_lookup"](), await scope["instance_config"]()

    result, config = await within(scope_of("acme", user=OLGA), both)
    assert result.source is Source.SERVICE
    assert result.config == config


@pytest.mark.usefixtures("service")
async def test_anonymous_is_refused() -> None:
    for nobody in ({}, {"user": None}, {"user": AnonymousUser()}):
        assert isinstance(await ask(scope_of("acme", **nobody)), AccessDenied)
    assert isinstance(await ask(scope_of("acme", user=SAM)), AccessDenied)


async def test_site_without_users(settings: Any, service: DictConfigService) -> None:
    """Without ``django.contrib.auth`` there is no class for an anonymous user."""
    settings.INSTALLED_APPS = ["instance_lookup"]
    assert isinstance(await ask(scope_of("acme")), AccessDenied)


@pytest.mark.usefixtures("service")
async def test_lazy_user_is_loaded_outside_of_the_event_loop() -> None:
    def load() -> Any:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return OLGA

    assert await ask(scope_of("acme", user=SimpleLazyObject(load))) == "acme"


@pytest.mark.usefixtures("service")
async def test_user_is_the_one_that_the_scope_has_now() -> None:
    """``channels.auth.logout`` puts another user into the scope that the consumer has."""

    async def log_out_and_in(scope: Any) -> list[Any]:
        answers = [await _ask(scope)]
        for user in (AnonymousUser(), SAM, OLGA):
            scope["user"] = user
            answers.append(await _ask(scope))
        scope["user"] = SAM
        with pytest.raises(AccessDenied):
            await sync_to_async(current_instance)()
        return answers

    first, anonymous, sam, again = await within(scope_of("acme", user=OLGA), log_out_and_in)
    assert (first, again) == ("acme", "acme")
    assert isinstance(anonymous, AccessDenied)
    assert isinstance(sam, AccessDenied)


async def test_deactivated_user_is_refused(service: DictConfigService) -> None:
    user = Somebody("olga")

    async def deactivate(scope: Any) -> list[Any]:
        answers = [await _ask(scope)]
        user.is_active = False
        return [*answers, await _ask(scope)]

    first, after = await within(scope_of("acme", user=user), deactivate)
    assert first == "acme"
    assert isinstance(after, AccessDenied)


def of_session(user: Any, request: Any) -> LookupUser:
    assert request.user is user
    assert request.resolver_match.kwargs == {}
    return LookupUser(request.session["user"]) if user.is_anonymous else LookupUser("nobody")


async def test_user_context_gets_the_scope_as_a_request(settings: Any) -> None:
    service = serve(settings, USER_CONTEXT=of_session)
    service.instances["acme"] = owned_by(OLGA)
    assert await ask(scope_of("acme", session={"user": "olga"})) == "acme"


def by_value(user: Any, request: Any) -> LookupUser:
    return LookupUser(str(user.pk))


@pytest.mark.parametrize("options", [{}, {"USER_CONTEXT": by_value}, {"IDENTIFIERS": IDENTIFIERS}])
async def test_change_of_the_configuration_is_seen(settings: Any, options: Any) -> None:
    """A socket lives for hours: nothing is kept that the resolver would not answer now."""
    service = serve(settings, **options)
    service.instances["acme"] = owned_by(OLGA)

    async def change(scope: Any) -> list[Any]:
        answers = [await _ask(scope)]
        service.instances["acme"] = owned_by(SAM)
        await get_resolver().ainvalidate_cache("acme")
        answers.append(await _ask(scope))
        del service.instances["acme"]
        await get_resolver().ainvalidate_cache("acme")
        answers.append(await _ask(scope))
        return answers

    first, revoked, deleted = await within(scope_of("acme", user=OLGA), change)
    assert first == "acme"
    assert isinstance(revoked, AccessDenied)
    assert isinstance(deleted, InstanceNotFound)


@pytest.mark.usefixtures("service")
async def test_lifespan_goes_through_untouched() -> None:
    scope = {"type": "lifespan"}

    async def same(inner: Any) -> bool:
        return inner is scope

    assert await within(scope, same, required=True, watch=True)


@pytest.mark.usefixtures("service")
async def test_scope_of_the_server_is_left_as_it_is() -> None:
    scope = scope_of("acme", user=OLGA)
    before = dict(scope)
    assert await ask(scope) == "acme"
    assert scope == before


@pytest.mark.usefixtures("service")
async def test_instance_is_current() -> None:
    async def current(scope: Any) -> list[str]:
        found = [(await acurrent_instance()).instance_id]
        found.append((await sync_to_async(current_instance)()).instance_id)
        found.append(await sync_to_async(async_to_sync(_ask))(scope))
        async with use_instance("globex", user=OLGA):
            found.append(current_instance().instance_id)
        return [*found, (await acurrent_instance()).instance_id]

    found = await within(scope_of("acme", user=OLGA), current)
    assert found == ["acme", "acme", "acme", "globex", "acme"]


@pytest.mark.usefixtures("service")
async def test_scope_within_a_scope_ends() -> None:
    """As where one application has others answer parts of a batch."""

    async def current(scope: Any) -> list[str]:
        inner = await ask(scope_of("globex", user=OLGA))
        return [inner, (await acurrent_instance()).instance_id]

    assert await within(scope_of("acme", user=OLGA), current) == ["globex", "acme"]


@pytest.mark.usefixtures("service")
async def test_event_loop_is_not_blocked() -> None:
    async def current(scope: Any) -> None:
        with pytest.raises(SynchronousOnlyOperation, match=r"await acurrent_instance\(\)"):
            current_instance()

    await within(scope_of("acme", user=OLGA), current)


@pytest.mark.usefixtures("service")
async def test_bad_host_is_an_error_of_ours_in_threads_too() -> None:
    async def current(scope: Any) -> None:
        with pytest.raises(InvalidContext, match="refused: DisallowedHost"):
            await sync_to_async(current_instance)()

    await within(scope_of(headers=[(b"host", b"a b.example.com")], user=OLGA), current)


@pytest.mark.usefixtures("service")
async def test_log_lines_name_instance_and_request() -> None:
    def line() -> Any:
        record = logging.makeLogRecord({"msg": "a line of a consumer"})
        RequestFilter().filter(record)
        return record.__dict__["instance_id"], record.__dict__["request_id"]

    async def lines(scope: Any) -> Any:
        before = line()
        await scope["instance_config"]()
        return before, line(), await sync_to_async(line)()

    before, *after = await within(scope_of("acme", user=OLGA), lines)
    assert before == ("-", "r-1")
    assert after == [("acme", "r-1")] * 2


@pytest.mark.usefixtures("service")
async def test_repr_shows_no_query_and_no_key() -> None:
    async def shown(scope: Any) -> str:
        await scope["instance_config"]()
        return repr(scope["instance_config"])

    text = await within(scope_of("acme", query_string=b"token=t0k3n", user=OLGA), shown)
    assert "ScopeLookup('acme')" in text
    assert "t0k3n" not in text


async def test_overridden_config_of_a_test() -> None:
    with override_instance_config("test", features={"beta": True}):
        assert await ask(scope_of(user=OLGA)) == "test"
