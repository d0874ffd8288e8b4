from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import path, re_path, resolve

from instance_lookup.conf import Settings
from instance_lookup.context import LookupContext
from instance_lookup.identifiers import (
    HeaderIdentifier,
    InstanceRef,
    PathIdentifier,
    ProjectIdentifier,
    ProjectRef,
    QueryIdentifier,
    SubdomainIdentifier,
    UserDefaultIdentifier,
)
from instance_lookup.resolution.selection import Selector
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from django.http import HttpRequest

SETTINGS = Settings()
DEFAULTS = (HeaderIdentifier(), ProjectIdentifier(), UserDefaultIdentifier())


def view(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("i/<str:instance_id>/", view),
    path("n/<int:instance_id>/", view),
    path("p/<str:project_id>/", view),
    path("ip/<str:instance_id>/<str:project_id>/", view),
    re_path(r"^opt/(?:(?P<instance_id>\w+)/)?$", view),
]


def context_of(
    url: str = "/", *, default: str | None = None, routed: bool = False, **extra: Any
) -> LookupContext:
    request = RequestFactory().get(url, **extra)
    if routed:
        request.resolver_match = resolve(
            request.path_info, "tests.behaviour.which.test_identifiers"
        )
    else:
        request.urlconf = "tests.behaviour.which.test_identifiers"
    return LookupContext(LookupUser("7", default_instance_id=default), request=request)


@pytest.mark.parametrize("identifier", DEFAULTS)
def test_identifier_without_request(identifier: Any) -> None:
    """A job has no request: identifiers then find nothing, or what the context says."""
    assert identifier.identify(LookupContext(LookupUser("7"))) is None


def test_project_of_context_before_url_before_header() -> None:
    """The project of the context comes first, then that of the URL, then that of the header."""
    context = context_of("/p/url/", HTTP_X_PROJECT_ID="header")
    assert ProjectIdentifier().identify(context, context.request) == ProjectRef("url")
    given_too = LookupContext(context.user, project_id="given", request=context.request)
    assert ProjectIdentifier().identify(given_too, context.request) == ProjectRef("given")


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/i/acme/", "acme"),
        ("/n/42/", "42"),
        ("/opt/acme/", "acme"),
        ("/opt/", None),
        ("/p/acme/", None),
        ("/i/a%2Cb/", "a,b"),
    ],
)
def test_path_identifier(url: str, found: str | None, routed: bool) -> None:
    """``PathIdentifier`` finds the URL's kwarg before and after routing."""
    context = context_of(url, routed=routed)
    ref = PathIdentifier().identify(context, context.request)
    assert ref == (None if found is None else InstanceRef(found))


def test_path_that_matches_nothing() -> None:
    """A URL that will be a 404 anyway names no instance."""
    context = context_of("/nowhere/")
    assert PathIdentifier().identify(context, context.request) is None


@override_settings(ROOT_URLCONF="tests.behaviour.which.test_identifiers")
def test_path_of_the_root_urlconf() -> None:
    """Without `request.urlconf` the path is resolved by `ROOT_URLCONF`."""
    request = RequestFactory().get("/i/acme/")
    assert PathIdentifier().identify(context_of(), request) == InstanceRef("acme")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("acme.example.com", "acme"),
        ("acme.example.com:8443", "acme"),
        ("ACME.Example.COM", "acme"),
        ("acme.example.com.", "acme"),
        ("a.b.example.com", "a.b"),
        ("www.acme.example.com", "www.acme"),
        ("example.com", None),
        ("example.com:80", None),
        ("www.example.com", None),
        ("WWW.example.com", None),
        ("acmeexample.com", None),
        ("acme.example.com.evil.net", None),
        ("acme.example.org", None),
        ("localhost", None),
        ("127.0.0.1:8000", None),
        ("[::1]", None),
        ("[::1]:8000", None),
    ],
)
@pytest.mark.parametrize("domain", ["example.com", ".Example.com", "example.com."])
def test_subdomain_identifier(host: str, found: str | None, domain: str) -> None:
    """``SubdomainIdentifier`` takes the label before the domain; other hosts name nothing."""
    context = context_of(HTTP_HOST=host)
    ref = SubdomainIdentifier(domain, ignore=("WWW",)).identify(context, context.request)
    assert ref == (None if found is None else InstanceRef(found))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/?instance_id=acme", "acme"),
        ("/?a=1&instance_id=acme&b=2", "acme"),
        ("/?instance_id=a%2Cb", "a,b"),
        ("/?instance_id=acme&instance_id=acme", "acme,acme"),
        ("/?instance_id=", ""),
        ("/?instance_id", ""),
        ("/?INSTANCE_ID=acme", None),
        ("/?tenant=acme", None),
        ("/", None),
    ],
)
def test_query_identifier(url: str, found: str | None) -> None:
    """``QueryIdentifier`` takes all that the parameter says; what is no id is refused later."""
    context = context_of(url)
    ref = QueryIdentifier().identify(context, context.request)
    assert ref == (None if found is None else InstanceRef(found))
    renamed = context_of(url.replace("instance_id", "customer"))
    assert QueryIdentifier("customer").identify(renamed, renamed.request) == ref


def test_query_identifier_of_the_settings() -> None:
    """It may go in by its path; it is explicit, and no header decides by it."""
    made = QueryIdentifier.from_settings(SETTINGS)
    assert (made.name, made.explicit, made.headers) == ("instance_id", True, ())
    assert made.identify(context_of()) is None


def test_query_may_change() -> None:
    """A view may put another query into its request, so what it names is asked each time."""
    assert Selector((QueryIdentifier(),), SETTINGS).reads is None


def test_subdomain_without_request() -> None:
    """Without a request there is no subdomain."""
    assert SubdomainIdentifier("example.com").identify(context_of()) is None


@override_settings(ALLOWED_HOSTS=["example.com"])
def test_subdomain_of_a_host_that_is_not_allowed() -> None:
    """Django's own refusal of forged hosts stands; it answers 400."""
    context = context_of(HTTP_HOST="acme.example.com")
    with pytest.raises(DisallowedHost):
        SubdomainIdentifier("example.com").identify(context, context.request)


def test_subdomain_by_its_path() -> None:
    """``SubdomainIdentifier`` cannot be given as a path; the error says what to write."""
    with pytest.raises(ImproperlyConfigured, match=r"put SubdomainIdentifier\('example.com'\)"):
        SubdomainIdentifier.from_settings(SETTINGS)


def test_headers_looked_at_are_told() -> None:
    """`Vary` names the headers that the settings name."""
    settings = Settings(instance_header="X-Tenant", project_header="X-Proj")
    made = [kind.from_settings(settings) for kind in (HeaderIdentifier, ProjectIdentifier)]
    assert [identifier.headers for identifier in made] == [("X-Tenant",), ("X-Proj",)]
    assert UserDefaultIdentifier.from_settings(settings).headers == ()
    context = context_of(HTTP_X_TENANT="acme")
    selector = Selector(made, settings)
    assert selector.headers == ("X-Tenant", "X-Proj")
    assert selector.select(context) == InstanceRef("acme")
