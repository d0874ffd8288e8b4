from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.template import engines
from django.utils.http import urlencode

from instance_lookup import AccessDenied, LookupUser
from instance_lookup.context_processors import instance
from instance_lookup.testing import override_instance_config
from tests.support.doors import CALLERS, Caller, Somebody, lookups, owned_by, serve
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

OLGA = Somebody("olga")
PROCESSOR = "instance_lookup.context_processors.instance"


@pytest.fixture(autouse=True)
def _processor(settings: Any) -> None:
    (engine,) = settings.TEMPLATES
    options = engine["OPTIONS"]
    processors = [*options["context_processors"], PROCESSOR]
    settings.TEMPLATES = [{**engine, "OPTIONS": {**options, "context_processors": processors}}]


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    service = serve(settings)
    service.instances["acme"] = owned_by(
        OLGA, features={"beta": True, "off": False}, r2_bucket="b", worker_urls={"w": "http://w"}
    )
    return service


def render(source: str, request: Any) -> str:
    return str(
        engines["django"].from_string("{% load instance_lookup %}" + source).render({}, request)
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ instance.instance_id }}", "acme"),
        ("{{ instance.metadata.owner }}", "olga"),
        ("{{ instance.r2_bucket }}", "b"),
        ("{{ instance.worker_urls.w }}", "http://w"),
        ("{{ instance.rate_limits.x.rpm }}", ""),
        ("{% if instance.features.beta %}on{% endif %}", "on"),
        ('{% if instance|has_feature:"beta" %}on{% endif %}', "on"),
        ('{% if instance|has_feature:"off" %}on{% endif %}', ""),
        ('{% if instance|has_feature:"unknown" %}on{% endif %}', ""),
        ('{{ request.instance_config|has_feature:"beta" }}', "True"),
    ],
)
def test_template_shows(request_: Any, source: str, text: str) -> None:
    """The context processor shows all but the keys, and the filter asks for a feature."""
    assert render(source, request_) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ instance.api_keys }}",
        "{{ instance.api_keys.ideogram }}",
        "{{ instance }}",
        "{{ instance|pprint }}",
        "{{ request.instance_config }}",
        "{{ request.instance_config|pprint }}",
        "{{ request.instance_config.api_keys }}",
        "{{ request.instance_lookup }}",
        "{% debug %}",
    ],
)
def test_template_shows_no_key(request_: Any, settings: Any, source: str) -> None:
    """A template cannot print an API key by accident."""
    settings.DEBUG = True

    assert SECRET not in render(source, request_)


def test_processor_looks_nothing_up_before_it_is_touched(request_: Any) -> None:
    """The context processor looks nothing up before a template uses it."""
    assert render("nothing", request_) == "nothing"
    repr(instance(request_))

    assert lookups() == 0


@pytest.mark.parametrize(
    "source",
    [
        "{{ instance.instance_id }}",
        "{% if instance.features.beta %}on{% endif %}",
        '{% if instance|has_feature:"beta" %}on{% endif %}',
        "{{ request.instance_config.instance_id }}",
        "{% if request.instance_config.features.beta %}on{% endif %}",
    ],
)
def test_template_raises_the_lookups_error(request_: Any, source: str) -> None:
    """A template raises the error of the lookup, so no page goes out without its tenant."""
    request_.user = Somebody("sam")

    with pytest.raises(AccessDenied):
        render(source, request_)
    assert lookups() == 1


@pytest.mark.parametrize("error", [AttributeError, TypeError, KeyError, ValueError, IndexError])
@pytest.mark.parametrize("source", ["{{ instance.x }}", "{{ request.instance_config.x }}"])
def test_template_raises_what_it_would_take_for_a_missing_name(
    request_: Any, settings: Any, source: str, error: type[Exception]
) -> None:
    """Lookup errors that Django's templates would hide are raised."""
    calls: list[object] = []

    def user_context(user: Any, request: Any = None) -> LookupUser:
        calls.append(user)
        raise error("inside")

    serve(settings, USER_CONTEXT=user_context)

    with pytest.raises((error, RuntimeError), match="inside"):
        render(source, request_)
    assert len(calls) == 1


@pytest.mark.parametrize("is_async", CALLERS)
def test_error_in_a_lazily_rendered_template_is_answered(
    db: None, service: DictConfigService, is_async: bool
) -> None:
    """A lookup error while a ``TemplateResponse`` is rendered gets its own answer."""
    caller = Caller(is_async=is_async).login(User.objects.create_user("sam"))
    path = "page?" + urlencode({"source": "{{ instance.instance_id }}"})

    assert caller(path, "acme").status_code == 403
    service.instances["acme"] = owned_by(User.objects.get())
    assert caller(path, "acme", x_project_id="x").status_code == 403  # cached: still another's


def test_template_in_an_async_view_needs_the_await() -> None:
    """A template in an event loop raises, and the error says what to await first."""
    source = urlencode({"source": "{{ instance.instance_id }}"})
    caller = Caller(is_async=True)

    with override_instance_config("mine"):
        assert "await request.ainstance_config()" in caller(f"apage?{source}").text
        assert caller(f"apage?awaited&{source}").text == "mine"
