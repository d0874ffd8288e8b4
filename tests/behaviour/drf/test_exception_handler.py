"""What an API answers to failed lookups, with DRF's exception handler and with ours."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from rest_framework.test import APIRequestFactory, force_authenticate

from instance_lookup import CacheError, ConfigServiceUnavailable, get_resolver
from instance_lookup.permissions import exception_handler
from tests.behaviour.drf import views
from tests.support.doors import (
    BROWSER,
    CALLERS,
    NO_STORE,
    PROBLEM,
    Caller,
    Somebody,
    owned_by,
    serve,
    vary,
)

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.urls("tests.behaviour.drf.urls")

OURS = {"EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler"}
HANDLERS = [pytest.param({}, id="default"), pytest.param(OURS, id="ours")]
DOWN = ConfigServiceUnavailable("down", retry_after=6.2)
FAILURES = [(None, 400), ("a,b", 400), ("acme", 403), ("gone", 404), ("down", 503)]


@pytest.fixture
def sam(db: None, service: DictConfigService) -> Caller:
    """A stranger with a token, and an instance that belongs to another user."""
    User.objects.create_user("sam")
    service.instances["acme"] = owned_by(Somebody("olga"))
    return Caller(is_async=False)


@pytest.mark.parametrize(("instance", "status"), FAILURES)
@pytest.mark.parametrize("path", ["api", "open"])
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("is_async", CALLERS)
def test_failed_lookup_has_its_status(
    *,
    sam: Caller,
    service: DictConfigService,
    settings: Any,
    handler: Any,
    path: str,
    is_async: bool,
    instance: str | None,
    status: int,
) -> None:
    """Each handler gives the error's status and ``no-store``, in a permission and in a view."""
    settings.REST_FRAMEWORK = handler
    service.failure = DOWN if status == 503 else None
    response = Caller(is_async=is_async)(path, instance, authorization="Token sam")

    assert response.status_code == status
    assert response.headers["Cache-Control"] == NO_STORE
    assert vary(response) >= {"X-Instance-ID", "X-Project-ID"}
    assert response.headers.get("Retry-After") == ("7" if status == 503 else None)
    default = handler != OURS and status in (403, 404)
    assert response.headers["Content-Type"] == ("application/json" if default else PROBLEM)


@pytest.mark.parametrize(("instance", "status"), FAILURES)
def test_our_handler_answers_with_problem_details(
    sam: Caller, service: DictConfigService, settings: Any, instance: str | None, status: int
) -> None:
    """Our handler answers with the same members as a plain view does."""
    settings.REST_FRAMEWORK = OURS
    service.failure = DOWN if status == 503 else None
    sent = {"authorization": "Token sam", "x_request_id": "r-1"}
    response = sam("api", instance, **sent)

    body = json.loads(response.content)
    assert list(body) == ["type", "title", "status", "detail", "instance_id", "request_id"]
    assert (body["status"], body["request_id"]) == (status, "r-1")


@pytest.mark.parametrize(("instance", "status"), FAILURES)
def test_our_handler_in_the_browsable_api(
    sam: Caller, service: DictConfigService, settings: Any, instance: str | None, status: int
) -> None:
    """In the browsable API our handler's problem is shown on DRF's page, with its forms."""
    settings.REST_FRAMEWORK = OURS
    service.failure = DOWN if status == 503 else None
    response = sam("api", instance, accept=BROWSER, authorization="Token sam")

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert "urn:instance-lookup:" in response.text
    assert response.headers["Cache-Control"] == NO_STORE


def test_browsable_api_asks_to_log_in(sam: Caller, settings: Any) -> None:
    """In the browsable API an anonymous user gets DRF's 401."""
    settings.REST_FRAMEWORK = OURS

    assert sam("api", "acme", accept=BROWSER).status_code == 401


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("path", ["api", "open"])
def test_outage_logs_no_error(
    *,
    sam: Caller,
    service: DictConfigService,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    handler: Any,
    path: str,
) -> None:
    """An outage logs no error for each 503."""
    settings.REST_FRAMEWORK = handler
    service.failure = DOWN
    for _ in range(2):
        assert sam(path, "acme", authorization="Token sam").status_code == 503

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("failure", [None, DOWN])
@pytest.mark.parametrize("instance", ["acme", "gone"])
def test_views_own_refusal_stays_its_own(
    sam: Caller, service: DictConfigService, settings: Any, failure: Any, instance: str
) -> None:
    """A refusal by the view itself is answered, not an earlier error of the lookup."""
    settings.REST_FRAMEWORK = OURS
    service.failure = failure
    response = sam("refuses", instance, authorization="Token sam")

    assert response.status_code == 403
    assert json.loads(response.content) == {"detail": "not on Sundays"}


def test_permissions_refusal_without_an_error_is_drfs(
    sam: Caller, service: DictConfigService, settings: Any
) -> None:
    """A permission's own refusal keeps its message and code."""
    settings.REST_FRAMEWORK = OURS
    service.instances["acme"] = owned_by(User.objects.get())
    response = sam("beta", "acme", authorization="Token sam")

    assert response.status_code == 403
    assert response.data["detail"].code == "feature_missing"


def test_broken_cache_management_is_left_alone() -> None:
    """A ``CacheError`` is no failed lookup; Django answers it with 500."""
    request = APIRequestFactory().get("/")

    assert exception_handler(CacheError("broken"), {"request": request}) is None
    assert exception_handler(ZeroDivisionError(), {"request": request}) is None


def test_our_handler_without_a_renderer() -> None:
    """Our handler answers before DRF has chosen a renderer, and for Django's requests."""
    request = APIRequestFactory().get("/")
    response = exception_handler(DOWN, {"request": request})

    assert response is not None
    assert response.content_type is None


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("path", ["api", "open"])
def test_concealed_denial_reads_like_absence(
    sam: Caller, settings: Any, handler: Any, path: str
) -> None:
    """With CONCEAL_DENIED a refusal equals "does not exist" to the byte, headers included."""
    service = serve(settings, CONCEAL_DENIED=True)
    settings.REST_FRAMEWORK = handler
    service.instances["acme"] = owned_by(Somebody("olga"))
    sent = {"authorization": "Token sam", "x_request_id": "r-1"}

    denied = sam(path, "acme", **sent)
    service.instances.clear()
    get_resolver().invalidate_all_caches()
    absent = sam(path, "acme", **sent)

    assert denied.status_code == absent.status_code == 404
    assert denied.content == absent.content
    assert dict(denied.headers) == dict(absent.headers)


def test_our_handler_needs_no_middleware(settings: Any, service: DictConfigService) -> None:
    """Our handler answers failed lookups without the middleware too."""
    settings.REST_FRAMEWORK = OURS
    service.failure = DOWN
    request = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    force_authenticate(request, Somebody("olga"))

    response = views.Api.as_view()(request).render()

    assert response.status_code == 503
    assert response.headers["Content-Type"] == PROBLEM
    assert response.headers["Cache-Control"] == NO_STORE


def test_our_handler_rolls_back(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``ATOMIC_REQUESTS`` a failed lookup rolls the transaction back."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with transaction.atomic():
        exception_handler(DOWN, {"request": APIRequestFactory().get("/")})

        assert transaction.get_rollback()


@pytest.mark.parametrize(("instance", "status"), [("acme", 403), ("gone", 404)])
def test_drfs_handler_in_the_browsable_api(sam: Caller, instance: str, status: int) -> None:
    """In the browsable API DRF's page shows the error, not Django's."""
    response = sam("api", instance, accept=BROWSER, authorization="Token sam")

    assert response.status_code == status
    assert "Django REST framework" in response.text
