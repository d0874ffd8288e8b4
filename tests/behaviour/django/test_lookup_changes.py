"""An answer is of one request, of who asks, and of what is named: when one changes, so does it."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.test.client import ClientHandler
from django.urls import path, resolve
from django.utils.functional import SimpleLazyObject, cached_property
from django.views.decorators.cache import cache_page

from instance_lookup import AccessDenied, InvalidContext, LookupContext, LookupUser, get_resolver
from instance_lookup.identifiers import Identifier, InstanceRef
from instance_lookup.request.attributes import attach, lookup_for
from instance_lookup.users import user_context
from tests.support.doors import CALLERS, Caller, Somebody, lookups, owned_by, serve, vary

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from instance_lookup.backends.memory import DictConfigService

OLGA = Somebody("olga", default_instance_id="acme")
SAM = Somebody("sam", default_instance_id="sams")
SETTINGS = {
    "locmem": {},
    "near": {"NEAR_CACHE_SIZE": 10},
}


@pytest.fixture(params=SETTINGS)
def service(request: pytest.FixtureRequest, settings: Any) -> DictConfigService:
    service = serve(settings, **SETTINGS[request.param])
    service.instances["acme"] = owned_by(OLGA)
    service.instances["sams"] = owned_by(SAM)
    service.projects.update(shop="acme", side="sams")
    return service


@pytest.fixture
def request_(service: DictConfigService) -> Any:
    """A request of the owner, with the lookup attached."""
    return asking("acme")


def asking(instance: str | None, path: str = "/", user: Any = OLGA) -> Any:
    headers = {} if instance is None else {"X-Instance-ID": instance}
    request: Any = RequestFactory().get(path, headers=headers)
    request.user = user
    attach(request)
    return request


TOUCHES: dict[str, Callable[[Any], Any]] = {
    "instance_config": lambda request: str(request.instance_config.instance_id),
    "instance_lookup": lambda request: request.instance_lookup.config.instance_id,
    "ainstance_config": lambda request: async_to_sync(request.ainstance_config)().instance_id,
    "ainstance_lookup": lambda request: (
        async_to_sync(request.ainstance_lookup)().config.instance_id
    ),
}


@pytest.fixture(params=TOUCHES)
def touch(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Each way to read a request's instance."""
    return TOUCHES[request.param]


COPIES = {"copy": copy.copy, "copy of a copy": lambda it: copy.copy(copy.copy(it))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("is_touched", [True, False])
def test_copied_request_answers_for_its_own_user(
    request_: Any, touch: Any, copied: Any, is_touched: bool
) -> None:
    """A copied request with another user does not get the keys of the original's user."""
    if is_touched:
        assert touch(request_) == "acme"
    twin = copied(request_)
    twin.user = SAM

    with pytest.raises(AccessDenied):
        touch(twin)
    assert touch(request_) == "acme"


def test_copied_request_answers_for_its_own_header(request_: Any, touch: Any) -> None:
    """A copied request with another header gets the instance of that header."""
    assert touch(request_) == "acme"
    twin = copy.copy(request_)
    twin.user, twin.META = SAM, {**request_.META, "HTTP_X_INSTANCE_ID": "sams"}

    assert touch(twin) == "sams"
    assert touch(request_) == "acme"


def test_deeply_copied_request_answers_for_its_own_user(service: Any, touch: Any) -> None:
    """A deep copy of a request answers for its own user."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.environ = request.META = {"HTTP_X_INSTANCE_ID": "acme"}
    request._stream = None  # a socket cannot be copied, which is for the site to see to
    request.user = OLGA
    attach(request)
    assert touch(request) == "acme"
    twin = copy.deepcopy(request)
    twin.user = SAM

    with pytest.raises(AccessDenied):
        touch(twin)
    assert touch(request) == "acme"


def test_attribute_taken_before_the_copy_stays_of_its_request(request_: Any) -> None:
    """A config that was read before the copy stays that of the original request."""
    held = request_.instance_config
    twin = copy.copy(request_)
    twin.user = SAM

    assert held.instance_id == "acme"


def test_copied_request_before_routing_finds_its_project(service: Any, touch: Any) -> None:
    """A copy that has lost its ``resolver_match`` resolves its URL again."""
    request = asking(None, "/projects/shop/")
    twin = copy.copy(request)
    twin.__dict__.pop("resolver_match", None)
    with override_settings(ROOT_URLCONF=__name__):
        assert touch(twin) == "acme"


def test_request_shows_itself_as_what_it_was() -> None:
    """A log line or a debugger sees the class that Django made."""
    request = RequestFactory().get("/x")
    shown = repr(request)
    attach(request)

    assert repr(request) == shown
    assert type(request).__name__ == "WSGIRequest"


# --- a view that answers with what it read from a copy ------------------------------------------


def batch(request: HttpRequest) -> HttpResponse:
    """Answer as the part of a batch that is for another instance."""
    twin: Any = copy.copy(request)
    twin.META = {**request.META, "HTTP_X_INSTANCE_ID": "acme"}
    return HttpResponse(twin.instance_config.instance_id)


async def abatch(request: HttpRequest) -> HttpResponse:
    twin: Any = copy.copy(request)
    twin.META = {**request.META, "HTTP_X_INSTANCE_ID": "acme"}
    return HttpResponse((await twin.ainstance_config()).instance_id)


def cached_copy(request: Any) -> HttpResponse:
    """Hand a copy to something that stores pages, and read the original there."""

    @cache_page(60)
    def inner(twin: HttpRequest) -> HttpResponse:
        return HttpResponse(request.instance_config.instance_id)

    response: HttpResponse = inner(copy.copy(request))
    return response


def whole_site(request: Any) -> HttpResponse:
    """Have the whole site answer a part of a batch, which streams, and read the instance then."""
    twin = copy.copy(request)
    twin.path_info = twin.path = "/stream"
    handler = ClientHandler()
    handler.load_middleware()
    part = b"".join(handler.get_response(twin).streaming_content)  # type: ignore[attr-defined]
    return HttpResponse(part + request.instance_config.instance_id.encode())


def stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(["part of "]))


def where(request: Any, **kwargs: str) -> HttpResponse:
    return HttpResponse(request.instance_config.instance_id)


urlpatterns = [
    path("batch", batch),
    path("abatch", abatch),
    path("cached_copy", cached_copy),
    path("whole_site", whole_site),
    path("stream", stream),
    path("projects/<project_id>/", where),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("name", ["batch", "abatch"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_what_a_copy_read_is_in_the_headers_of_the_response(
    db: None, service: DictConfigService, name: str, is_async: bool
) -> None:
    """The response has the tenant's headers, also when a copy of the request was read."""
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)

    response = Caller(is_async=is_async).login(olga)(name)

    assert response.content == b"acme"
    assert vary(response) >= {"X-Instance-ID", "X-Project-ID"}
    assert response.headers["Cache-Control"] == "private"


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("is_async", CALLERS)
def test_page_of_a_copy_is_kept_out_of_djangos_page_cache(
    db: None, service: DictConfigService, is_async: bool
) -> None:
    """The page is not shared, whether the request or its copy was read or given to the cache."""
    olga, sam = (User.objects.create_user(name) for name in ("olga", "sam"))
    service.instances["acme"] = owned_by(olga)
    assert Caller(is_async=is_async).login(olga)("cached_copy", "acme").content == b"acme"

    assert Caller(is_async=is_async).login(sam)("cached_copy", "acme").status_code == 403


@pytest.mark.urls(__name__)
def test_stream_of_a_part_is_not_the_stream_of_the_whole(
    db: None, service: DictConfigService
) -> None:
    """The parts of a batch have their own responses, also when they are streams."""
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)

    response = Caller(is_async=False).login(olga)("whole_site", "acme")

    assert response.content == b"part of acme"
    assert vary(response) >= {"X-Instance-ID", "X-Project-ID"}


# --- who asks ------------------------------------------------------------------------------------


def bearer(user: Any, request: Any = None) -> LookupUser:
    """Return the user of a token on the request, as django-ninja and DRF put it there, if any."""
    principal = getattr(request, "auth", None) or user
    return LookupUser(principal.pk, default_instance_id=principal.default_instance_id)


async def abearer(user: Any, request: Any = None) -> LookupUser:
    return bearer(user, request)


@pytest.mark.parametrize("context", [bearer, abearer])
def test_principal_of_the_view_is_asked_about_anew(
    request_: Any, settings: Any, touch: Any, context: Any
) -> None:
    """When the view authenticates another user, the lookup of the session's user is not used."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    assert touch(request_) == "acme"

    request_.auth = SAM

    with pytest.raises(AccessDenied):
        touch(request_)


def in_session(user: Any, request: Any = None) -> LookupUser:
    return LookupUser(request.session._session["acting_as"])


def in_header(user: Any, request: Any = None) -> LookupUser:
    return LookupUser(request.META.get("HTTP_X_ACTING_AS", "olga"))


def in_route(user: Any, request: Any = None) -> LookupUser:
    return LookupUser(resolve(request.path_info, __name__).kwargs.get("project_id", "olga"))


def in_attribute(user: Any, request: Any = None) -> LookupUser:
    return LookupUser(getattr(request, "tenant_user", "olga"))


def in_user(user: Any, request: Any = None) -> LookupUser:
    return LookupUser(getattr(user, "acting_as", "olga"))


def _acts_in_attribute(request: Any) -> None:
    request.tenant_user = "sam"


def _acts_in_user(request: Any) -> None:
    request.user.acting_as = "sam"


def _acts_in_session(request: Any) -> None:
    request.session._session["acting_as"] = "sam"


def _acts_in_header(request: Any) -> None:
    request.META["HTTP_X_ACTING_AS"] = "sam"


def _acts_in_route(request: Any) -> None:
    request.path_info = "/projects/sam/"


@pytest.mark.parametrize(
    ("context", "change"),
    [
        (in_session, _acts_in_session),
        (in_header, _acts_in_header),
        (in_route, _acts_in_route),
        (in_attribute, _acts_in_attribute),
        (in_user, _acts_in_user),
    ],
)
def test_what_a_user_context_reads_may_change(
    service: Any, settings: Any, touch: Any, context: Any, change: Any
) -> None:
    """A change of anything that a project's ``USER_CONTEXT`` reads is noticed."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    request = asking("acme", "/projects/olga/", user=Somebody("olga"))
    cache = {"acting_as": "olga"}
    request.session = SimpleNamespace(_session_cache=cache, _session=cache, modified=False)
    assert touch(request) == "acme"

    change(request)

    with pytest.raises(AccessDenied):
        touch(request)


def test_user_context_is_asked_once_while_nothing_changes(
    request_: Any, settings: Any, touch: Any
) -> None:
    """``USER_CONTEXT`` is called once while nothing changes: it may cost a query."""
    asked: list[object] = []

    def context(user: Any, request: Any = None) -> LookupUser:
        asked.append(user)
        return LookupUser(user.pk)

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    for _ in range(3):
        touch(request_)
    assert len(asked) == 1

    request_.auth = object()
    for _ in range(3):
        touch(request_)

    assert len(asked) == 2
    assert lookups() == 1


CHANGES = {
    "is_active": False,
    "is_superuser": False,
    "tenant_ids": ("other",),
    "id": None,
}


@pytest.mark.parametrize("field", CHANGES)
def test_user_changed_in_place_is_asked_about_anew(
    service: Any, settings: Any, touch: Any, field: str
) -> None:
    """A change of a field of the user that the policy reads is noticed."""
    settings.INSTANCE_LOOKUP = {
        **settings.INSTANCE_LOOKUP,
        "ACCESS_POLICY": "tests.behaviour.django.test_lookup_changes.members_and_admins",
    }
    service.instances["acme"] = {"metadata": {"owner": "nobody", "tenant_id": "t"}}
    member = field == "tenant_ids"
    user = Somebody("ada", is_superuser=not member, tenant_ids=("t",) if member else ())
    request = asking("acme", user=user)
    assert touch(request) == "acme"

    setattr(user, field, CHANGES[field])

    with pytest.raises(AccessDenied):
        touch(request)


def test_tenants_changed_in_place_are_asked_about_anew(
    service: Any, settings: Any, touch: Any
) -> None:
    """A tenant removed from the user's list in place is noticed, and the user is refused."""
    policy = "tests.behaviour.django.test_lookup_changes.members_and_admins"
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "ACCESS_POLICY": policy}
    service.instances["acme"] = {"metadata": {"owner": "nobody", "tenant_id": "t"}}
    request = asking("acme", user=Somebody("ada", tenant_ids=["t"]))
    assert touch(request) == "acme"

    request.user.tenant_ids.remove("t")

    with pytest.raises(AccessDenied):
        touch(request)


class Roaming(Somebody):
    """A user whose default instance hangs on a field that only the site's own class knows."""

    class Meta:
        proxy = True
        app_label = "auth"

    workspace: str

    @property
    def default_instance_id(self) -> str:
        return self.workspace


def test_field_behind_a_property_is_noticed(service: Any, touch: Any) -> None:
    """A change behind a property of the site's own user class is noticed."""
    service.instances["other"] = owned_by(OLGA)
    request = asking(None, user=Roaming("olga", workspace="acme"))
    assert touch(request) == "acme"

    request.user.workspace = "other"

    assert touch(request) == "other"


def test_private_fields_of_a_user_decide_nothing(request_: Any, touch: Any) -> None:
    """A private field of the user, as ``has_perm`` sets one, causes no new lookup."""
    request_.user = Somebody("olga")
    assert touch(request_) == "acme"
    looked_up = lookups()

    request_.user._perm_cache = {"app.change"}

    assert touch(request_) == "acme"
    assert lookups() == looked_up


def test_lazy_field_that_fails_to_load_counts_as_changed(service: Any, touch: Any) -> None:
    """A lazy field of the user that fails to load counts as changed, and raises nothing."""

    def fail() -> object:
        raise ValueError

    user = Somebody("olga", team=SimpleLazyObject(lambda: "red"))
    request = asking("acme", user=user)
    assert touch(request) == "acme"

    user.team = SimpleLazyObject(fail)  # type: ignore[attr-defined]  # a site's own

    assert touch(request) == "acme"


def test_user_who_moves_to_another_instance_is_there(service: Any, touch: Any) -> None:
    """A view that changes the default of the user's profile goes on in the new instance."""
    service.instances["other"] = owned_by(OLGA)
    profile = SimpleNamespace(default_instance_id="acme")
    request = asking(None, user=Somebody("olga", profile=profile))
    assert touch(request) == "acme"

    profile.default_instance_id = "other"

    assert touch(request) == "other"


@pytest.mark.urls(__name__)
def test_url_changed_in_place_decides(service: Any, touch: Any) -> None:
    """A change of the URL's kwargs in ``process_view`` is noticed."""
    request = asking(None, "/projects/shop/")
    request.resolver_match = resolve("/projects/shop/", __name__)
    assert touch(request) == "acme"

    request.resolver_match.kwargs["project_id"] = "side"

    with pytest.raises(AccessDenied):
        touch(request)


def test_user_of_a_kind_of_the_projects_own_is_compared_in_full(
    request_: Any, settings: Any, touch: Any
) -> None:
    """A field that a project adds to ``LookupUser`` is compared too: its policy may read it."""

    class Scoped(LookupUser):
        scopes: Any = ()

    class InScope:
        def allows(self, user: Any, config: Any) -> bool:
            return "read" in user.scopes

    def context(user: Any, request: Any = None) -> LookupUser:
        who = Scoped(user.pk)
        vars(who)["scopes"] = getattr(request, "auth", None) or ("read",)
        return who

    own = {"USER_CONTEXT": context, "ACCESS_POLICY": InScope()}
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **own}
    assert touch(request_) == "acme"

    request_.auth = ("write",)

    with pytest.raises(AccessDenied):
        touch(request_)


def test_refused_user_who_is_admitted_in_place_gets_in(request_: Any, touch: Any) -> None:
    """A user who is admitted after a refusal gets in: an error is not kept for longer."""
    ada = Somebody("ada")
    request_.user = ada
    with pytest.raises(AccessDenied):
        touch(request_)

    ada.is_superuser = True

    assert touch(request_) == "acme"


def test_caches_that_django_keeps_on_a_user_change_nothing(request_: Any, touch: Any) -> None:
    """What Django caches on a user causes no second lookup."""
    touch(request_)
    request_.user._perm_cache = set()
    try:
        touch(request_)
    finally:
        del request_.user._perm_cache

    assert lookups() == 1


def test_failing_user_context_is_asked_again_for_another_user(
    request_: Any, settings: Any, touch: Any
) -> None:
    """An error of ``USER_CONTEXT`` for one user is not kept for the next."""

    def context(user: Any, request: Any = None) -> LookupUser:
        if user is SAM:
            raise ValueError("no such tenant")
        return LookupUser(user.pk)

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    request_.user = SAM
    for _ in range(2):
        with pytest.raises(ValueError, match="no such tenant"):
            touch(request_)

    request_.user = OLGA

    assert touch(request_) == "acme"


# --- what is named -------------------------------------------------------------------------------


@pytest.mark.urls(__name__)
def test_lookup_before_routing_is_not_kept_for_the_view(service: Any, touch: Any) -> None:
    """A lookup before routing is not used for the view, whose URL may name another project."""
    request = asking(None, "/en/projects/side/")
    assert touch(request) == "acme"

    request.path_info = "/projects/side/"  # as LocaleMiddleware and SCRIPT_NAME have it

    with pytest.raises(AccessDenied):
        touch(request)


def test_urlconf_set_later_decides(service: Any, touch: Any) -> None:
    """A ``request.urlconf`` that is set later decides which project the URL names."""
    request = asking(None, "/projects/side/")
    assert touch(request) == "acme"

    request.urlconf = __name__

    with pytest.raises(AccessDenied):
        touch(request)


def test_resolved_url_decides(service: Any, touch: Any) -> None:
    """When the URL is resolved the project in it decides."""
    request = asking(None, "/projects/side/")
    assert touch(request) == "acme"

    request.resolver_match = resolve("/projects/side/", __name__)

    with pytest.raises(AccessDenied):
        touch(request)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("is_async", CALLERS)
def test_early_lookup_of_a_middleware_does_not_decide_for_the_view(
    db: None, service: Any, settings: Any, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A middleware's lookup before ``request.urlconf`` is set does not decide for the view."""
    olga = User.objects.create_user("olga")
    monkeypatch.setattr(User, "default_instance_id", "acme", raising=False)
    service.instances["acme"] = owned_by(olga)
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "tests.behaviour.django.test_lookup_changes.touches_early",
    ]
    settings.ROOT_URLCONF = "tests.support.urls"

    response = Caller(is_async=is_async).login(olga)("projects/side/")

    assert response.status_code == 403


def touches_early(get_response: Any) -> Any:
    """A middleware that wants to know the tenant before it chooses the URLs."""

    def middleware(request: Any) -> HttpResponse:
        assert request.instance_config.instance_id == "acme"
        request.urlconf = __name__
        response: HttpResponse = get_response(request)
        return response

    return middleware


def test_header_changed_in_the_view_decides(request_: Any, touch: Any) -> None:
    """A header that a middleware or the view changes decides."""
    assert touch(request_) == "acme"

    request_.META["HTTP_X_INSTANCE_ID"] = "sams"

    with pytest.raises(AccessDenied):
        touch(request_)


def test_header_put_right_decides(request_: Any, touch: Any) -> None:
    """After the header was corrected the error about the old value is gone."""
    request_.META["HTTP_X_INSTANCE_ID"] = "a,b"
    with pytest.raises(InvalidContext, match="a,b"):
        touch(request_)
    request_.META["HTTP_X_INSTANCE_ID"] = "c,d"
    with pytest.raises(InvalidContext, match="c,d"):
        touch(request_)

    request_.META["HTTP_X_INSTANCE_ID"] = "acme"

    assert touch(request_) == "acme"


class InCookie(Identifier):
    """A project's own, which looks where ours do not."""

    def identify(self, context: Any, request: HttpRequest | None = None) -> InstanceRef | None:
        assert request is not None
        return InstanceRef(request.COOKIES["instance"])


def test_identifier_of_the_projects_own_is_asked_each_time(
    request_: Any, settings: Any, touch: Any
) -> None:
    """A project's own identifier is called each time: it is not known what it reads."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "IDENTIFIERS": (InCookie(),)}
    request_.COOKIES = {"instance": "acme"}
    assert touch(request_) == touch(request_) == "acme"
    assert lookups() == 1

    request_.COOKIES["instance"] = "sams"

    with pytest.raises(AccessDenied):
        touch(request_)


def test_identifier_that_fails_is_a_kept_error(request_: Any, settings: Any, touch: Any) -> None:
    """An identifier's own error is raised each time, without a lookup."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "IDENTIFIERS": (InCookie(),)}
    for _ in range(2):
        with pytest.raises(KeyError, match="instance"):
            touch(request_)


def test_anonymous_callers_are_one_whatever_they_name(request_: Any, touch: Any) -> None:
    """Anonymous callers are refused without a lookup, with each id that they name."""
    for header in ("acme", "sams", "a,b"):
        request_.user = AnonymousUser()
        request_.META["HTTP_X_INSTANCE_ID"] = header
        with pytest.raises(AccessDenied, match="Anonymous"):
            touch(request_)

    assert lookups() == 0
    assert isinstance(lookup_for(request_).error, AccessDenied)


async def test_changed_user_in_the_loop_is_not_given_the_old_answer(request_: Any) -> None:
    """In an event loop a changed user gets an error that asks for an await, not the old answer."""
    await request_.ainstance_config()
    request_.user = SAM

    with pytest.raises(SynchronousOnlyOperation, match="await request"):
        str(request_.instance_config.instance_id)


def test_error_that_no_longer_holds_is_none(request_: Any) -> None:
    """An error of an earlier user is not the error of the present user."""
    request_.user = SAM
    with pytest.raises(AccessDenied):
        lookup_for(request_).get()
    assert isinstance(lookup_for(request_).error, AccessDenied)

    request_.user = OLGA

    assert lookup_for(request_).error is None


class _Policy:
    def allows(self, user: LookupUser, config: Any) -> bool:
        """Let in members and admins, but not owners."""
        return not user.is_anonymous and (
            "admin" in user.roles or config.metadata.tenant_id in user.tenant_ids
        )


members_and_admins = _Policy()


async def test_user_replaced_while_it_is_asked_about_is_not_given_the_answer(
    request_: Any, settings: Any
) -> None:
    """An answer for a user that was replaced during ``USER_CONTEXT`` is not the next user's."""

    async def context(user: Any, request: Any = None) -> LookupUser:
        request.user = SAM
        return LookupUser(user.pk)

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    assert (await request_.ainstance_config()).instance_id == "acme"  # Olga's, who asked

    with pytest.raises(AccessDenied):
        await request_.ainstance_config()


@pytest.mark.parametrize("change", ["auth", "META", "session"])
async def test_what_changes_while_a_user_context_answers_is_noticed(
    request_: Any, settings: Any, change: str
) -> None:
    """A change of the principal, a header or the session during ``USER_CONTEXT`` is noticed."""
    request_.session = SessionStore()
    answers = iter(["olga", "sam"])

    async def context(user: Any, request: Any = None) -> LookupUser:
        who = LookupUser(next(answers))
        if change == "auth":
            request.auth = SAM
        elif change == "META":
            request.META["HTTP_X_ACTING_AS"] = "sam"
        else:
            request.session["acting_as"] = "sam"
        return who

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    assert (await request_.ainstance_config()).instance_id == "acme"

    with pytest.raises(AccessDenied):
        await request_.ainstance_config()


def test_session_that_is_loaded_for_a_user_context_is_no_change(
    request_: Any, settings: Any, touch: Any
) -> None:
    """Reading the session in ``USER_CONTEXT`` is no change, so it is called once."""
    asked: list[object] = []

    def context(user: Any, request: Any = None) -> LookupUser:
        asked.append(request.session.get("acting_as"))
        return LookupUser(user.pk)

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    request_.session = SessionStore()
    for _ in range(3):
        assert touch(request_) == "acme"

    assert len(asked) == 1


async def test_error_of_a_replaced_user_is_not_the_next_ones(request_: Any, settings: Any) -> None:
    """An error for a user that was replaced meanwhile is not the next user's error."""

    async def context(user: Any, request: Any = None) -> LookupUser:
        if user is SAM:
            request.user = OLGA
            raise ValueError("no such user")
        return LookupUser(user.pk)

    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": context}
    request_.user = SAM
    with pytest.raises(ValueError, match="no such user"):
        await request_.ainstance_config()

    assert (await request_.ainstance_config()).instance_id == "acme"


def test_user_replaced_while_it_is_loaded_is_not_given_the_answer(
    request_: Any, touch: Any
) -> None:
    """An answer for a user that was replaced while it was loaded is not given."""

    def load() -> Any:
        request_.user = SAM
        return OLGA

    request_.user = SimpleLazyObject(load)
    assert touch(request_) == "acme"

    with pytest.raises(AccessDenied):
        touch(request_)


def test_user_that_cannot_be_loaded_is_a_kept_error(request_: Any, touch: Any) -> None:
    """An error while the user is loaded is kept until another user is set."""
    asked: list[object] = []

    def load() -> Any:
        asked.append(None)
        raise ValueError("no database")

    request_.user = SimpleLazyObject(load)
    for _ in range(3):
        with pytest.raises(ValueError, match="no database"):
            touch(request_)
    assert len(asked) == 1

    request_.user = OLGA

    assert touch(request_) == "acme"


async def test_default_that_is_needed_only_later_is_loaded_then(service: Any) -> None:
    """The user's default is loaded when it is needed, not before."""
    user = Somebody("olga", profile=SimpleNamespace(default_instance_id="sams"))
    request = asking("acme", user=user)
    assert (await request.ainstance_config()).instance_id == "acme"

    del request.META["HTTP_X_INSTANCE_ID"]

    with pytest.raises(AccessDenied, match="sams"):
        await request.ainstance_config()


class Cached(Somebody):
    """A user whose tenants are found once, and kept."""

    class Meta:
        proxy = True
        app_label = "auth"

    @cached_property
    def tenant_ids(self) -> Any:
        return ["t"]


class Incomparable:
    """A value like an array: the result of ``==`` is neither true nor false."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda user: delattr(user, "tenant_ids"), id="forgotten"),
        pytest.param(lambda user: setattr(user, "tenant_ids", None), id="none"),
        pytest.param(lambda user: setattr(user, "tenant_ids", [Incomparable()]), id="replaced"),
        pytest.param(
            lambda user: user.tenant_ids.__setitem__(0, Incomparable()), id="changed in place"
        ),
    ],
)
def test_lookup_is_made_again_if_tenants_cannot_be_compared(
    service: Any, change: Callable[[Any], object]
) -> None:
    """Tenant ids that cannot be compared cause a new lookup, and no error."""
    user = Cached("olga")
    user.tenant_ids = [Incomparable()]
    request = asking("acme", user=user)
    first = request.instance_lookup.config

    change(user)

    assert request.instance_lookup.config == first


def test_page_cache_decides_for_itself_until_the_instance_is_read(request_: Any) -> None:
    """Django's cache flag on the request is not touched before the instance is read."""
    assert not hasattr(request_, "_cache_update_cache")
    request_._cache_update_cache = True
    assert request_._cache_update_cache is True

    str(request_.instance_config.instance_id)

    assert request_._cache_update_cache is False


async def test_context_of_a_request_loads_the_default_that_it_needs(service: Any) -> None:
    """A context of a request can be resolved in an event loop, though the profile is not loaded."""
    user = Somebody("olga", profile=SimpleNamespace(default_instance_id="acme"))
    context = LookupContext(user_context(user), request=asking(None, user=user))

    result = await get_resolver().aresolve(context)

    assert result.config.instance_id == "acme"
