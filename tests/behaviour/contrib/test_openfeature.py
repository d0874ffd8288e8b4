"""Flags of the current instance for OpenFeature, beside what its own provider in memory answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping  # noqa: TC003  # msgspec resolves it
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.http import HttpResponse
from django.test import RequestFactory
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagType, Reason
from openfeature.provider import ProviderStatus
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from instance_lookup import ConfigServiceUnavailable, InstanceConfig, get_resolver, use_instance
from instance_lookup.cache.pubsub import channel_of
from instance_lookup.contrib.openfeature import InstanceProvider
from instance_lookup.contrib.openfeature.changes import Changes
from instance_lookup.middleware import InstanceConfigMiddleware
from instance_lookup.testing import override_instance_config
from tests.support.doors import OLGA, SAM, owned_by, serve
from tests.support.near import near_caches, near_config
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openfeature.client import OpenFeatureClient
    from openfeature.event import EventDetails

    from instance_lookup.backends.memory import DictConfigService
    from tests.support.lookups import Clock
    from tests.support.redis_server import RedisServer


class StudioConfig(InstanceConfig, frozen=True, kw_only=True):
    """As a site has it: flags of every kind in one field."""

    flags: Mapping[str, Any] = {}


FEATURES = {"beta": True, "dark": False}
FLAGS: dict[str, Any] = {
    "theme": "night",
    "seats": 5,
    "price": 0.5,
    "limits": {"render": [1, {"burst": 2}]},
    "plans": ["free", "pro"],
    "gradual": True,
}
DEFAULTS: dict[FlagType, Any] = {
    FlagType.BOOLEAN: False,
    FlagType.STRING: "day",
    FlagType.INTEGER: -1,
    FlagType.FLOAT: -0.5,
    FlagType.OBJECT: {"by": "default"},
}


def ask(client: Any, kind: FlagType, key: str, **options: Any) -> FlagEvaluationDetails[Any]:
    """Evaluate a flag, as a site does."""
    verb = getattr(client, f"get_{kind.value.lower()}_details")
    details: FlagEvaluationDetails[Any] = verb(key, DEFAULTS[kind], **options)
    return details


def ask_async(client: Any, kind: FlagType, key: str, **options: Any) -> FlagEvaluationDetails[Any]:
    """Evaluate a flag in an event loop."""
    verb = getattr(client, f"get_{kind.value.lower()}_details_async")
    details: FlagEvaluationDetails[Any] = asyncio.run(verb(key, DEFAULTS[kind], **options))
    return details


def in_request(work: Callable[[], Any], instance_id: str, user: Any = OLGA) -> Any:
    """Return what ``work`` returns in a view."""
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(work())
        return HttpResponse()

    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": instance_id})
    request.user = user
    InstanceConfigMiddleware(view)(request)
    return seen[0]


TWINS = pytest.mark.parametrize("ask", [ask, ask_async])


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    """A Config Service whose instances have flags."""
    service = serve(settings, CONFIG_CLASS=StudioConfig)
    service.instances["acme"] = owned_by(OLGA, features=FEATURES, flags=FLAGS)
    service.instances["globex"] = owned_by(OLGA, features={"beta": False})
    return service


def client_of(provider: Any, domain: str = "site") -> OpenFeatureClient:
    """Return a client of the provider, once that is ready; newer SDKs need a thread for it."""
    api.set_provider(provider, domain)
    client = api.get_client(domain)
    wait_until(lambda: client.get_provider_status() is not ProviderStatus.NOT_READY)
    return client


@pytest.fixture(autouse=True)
def _no_providers() -> Iterator[None]:
    yield
    api.clear_providers()


@pytest.fixture
def client(service: DictConfigService) -> OpenFeatureClient:
    return client_of(InstanceProvider(field="flags"))


@pytest.fixture
def reference() -> OpenFeatureClient:
    """A client of the SDK's own provider, which has the same flags."""
    of_set = {"flagSetId": "acme"}
    flags = {
        key: InMemoryFlag("on", {"on": value}, of_set) for key, value in (FEATURES | FLAGS).items()
    }
    return client_of(InMemoryProvider(flags), "reference")


# What the SDK's provider does not tell apart: Python's True is the integer 1, JSON's is not; and
# JSON has one kind of number, so 5 is a float, too.
BETTER = {
    ("beta", FlagType.INTEGER): (-1, ErrorCode.TYPE_MISMATCH),
    ("dark", FlagType.INTEGER): (-1, ErrorCode.TYPE_MISMATCH),
    ("gradual", FlagType.INTEGER): (-1, ErrorCode.TYPE_MISMATCH),
    ("seats", FlagType.FLOAT): (5.0, None),
}


@TWINS
@pytest.mark.parametrize("kind", DEFAULTS)
def test_details_are_those_of_the_reference(
    ask: Any, kind: FlagType, client: OpenFeatureClient, reference: OpenFeatureClient
) -> None:
    """Each flag asked for as each kind, and one that is not there."""
    keys = [*FEATURES, *FLAGS, "unknown"]
    with use_instance("acme", user=OLGA):
        answers = [(key, ask(client, kind, key), ask(reference, kind, key)) for key in keys]
    for key, ours, theirs in answers:
        assert type(ours.value) is type(DEFAULTS[kind]) or kind is FlagType.OBJECT
        if (key, kind) in BETTER:
            assert (ours.value, ours.error_code) == BETTER[key, kind]
            continue
        if theirs.error_code:
            theirs.value = DEFAULTS[kind]  # the SDK's async client returns what is of another kind
            assert key in str(ours.error_message)
            assert ours.flag_metadata in ({"flagSetId": "acme"}, {})  # older clients drop it
        wording: dict[str, Any] = {"variant": None, "error_message": None}
        wording |= {"flag_metadata": {}} if theirs.error_code else {}
        assert replace(ours, **wording) == replace(theirs, **wording)


@TWINS
def test_reason_says_where_the_value_is_from(
    ask: Any, client: OpenFeatureClient, service: DictConfigService, clock: Clock
) -> None:
    seen = []

    def look() -> None:
        with use_instance("acme", user=OLGA):
            details = ask(client, FlagType.BOOLEAN, "beta")
        assert details.value is True
        seen.append(details.reason)

    look()
    look()
    clock.now += 400
    service.failure = ConfigServiceUnavailable("down", reason="timeout")
    look()
    assert seen == [Reason.STATIC, Reason.CACHED, Reason.STALE]


@TWINS
def test_null_leaves_it_to_the_caller(
    ask: Any, client: OpenFeatureClient, service: DictConfigService
) -> None:
    """The instance has the flag, and no value of its own: that is no error."""
    service.instances["acme"] = owned_by(OLGA, features=FEATURES, flags={"theme": None})
    with use_instance("acme", user=OLGA):
        details = ask(client, FlagType.STRING, "theme")
    assert (details.value, details.reason, details.error_code) == ("day", Reason.DEFAULT, None)


@TWINS
def test_number_is_that_of_json(
    ask: Any, client: OpenFeatureClient, service: DictConfigService
) -> None:
    """``60.0`` is an integer, as in a configuration's own fields; ``60.5`` is none."""
    service.instances["acme"] = owned_by(
        OLGA, features=FEATURES, flags={"whole": 60.0, "broken": 60.5}
    )
    with use_instance("acme", user=OLGA):
        whole = ask(client, FlagType.INTEGER, "whole")
        broken = ask(client, FlagType.INTEGER, "broken")
    assert (whole.value, type(whole.value)) == (60, int)
    assert (broken.value, broken.error_code) == (-1, ErrorCode.TYPE_MISMATCH)


def test_object_is_a_copy(client: OpenFeatureClient) -> None:
    """What is changed in it is not changed in the configuration, which all requests share."""
    with use_instance("acme", user=OLGA) as config:
        value: Any = ask(client, FlagType.OBJECT, "limits").value
        value["render"].append("mine")
        assert ask(client, FlagType.OBJECT, "limits").value == FLAGS["limits"]
        assert config.flags["limits"] == {"render": (1, {"burst": 2})}  # type: ignore[attr-defined]


@TWINS
def test_feature_counts_before_a_flag_of_its_name(
    ask: Any, client: OpenFeatureClient, service: DictConfigService
) -> None:
    service.instances["acme"] = owned_by(OLGA, features=FEATURES, flags={"beta": "from the field"})
    with use_instance("acme", user=OLGA):
        assert ask(client, FlagType.BOOLEAN, "beta").value is True
        assert ask(client, FlagType.STRING, "beta").error_code is ErrorCode.TYPE_MISMATCH


DOWN = ConfigServiceUnavailable("down", reason="timeout")
ERRORS = [
    pytest.param(("acme", SAM, None, ErrorCode.GENERAL), id="denied"),
    pytest.param(("unknown", OLGA, None, ErrorCode.GENERAL), id="unknown"),
    pytest.param(("", OLGA, None, ErrorCode.INVALID_CONTEXT), id="malformed"),
    pytest.param(("acme", OLGA, DOWN, ErrorCode.PROVIDER_NOT_READY), id="outage"),
]


@TWINS
@pytest.mark.parametrize("case", ERRORS)
def test_request_without_an_instance(
    ask: Any, case: Any, client: OpenFeatureClient, service: DictConfigService
) -> None:
    """The view goes on with its default, and the details say why."""
    instance_id, user, service.failure, code = case
    details = in_request(partial(ask, client, FlagType.STRING, "theme"), instance_id, user)
    assert (details.value, details.reason, details.error_code) == ("day", Reason.ERROR, code)
    assert details.error_message


@TWINS
def test_code_outside_of_any_instance(ask: Any, client: OpenFeatureClient) -> None:
    details = ask(client, FlagType.BOOLEAN, "beta")
    assert (details.value, details.error_code) == (False, ErrorCode.INVALID_CONTEXT)
    assert "use_instance" in str(details.error_message)


@TWINS
def test_context_of_the_evaluation_changes_nothing(ask: Any, client: OpenFeatureClient) -> None:
    """Neither the instance nor the user: it may hold what a client has sent."""
    named = {"instance_id": "globex", "user": "root", "flagSetId": "globex"}
    context = EvaluationContext("globex", named)
    with use_instance("acme", user=OLGA):
        assert ask(client, FlagType.BOOLEAN, "beta", evaluation_context=context).value is True
    assert ask(client, FlagType.BOOLEAN, "beta", evaluation_context=context).error_code


@TWINS
def test_flags_are_those_of_the_request(ask: Any, client: OpenFeatureClient) -> None:
    look = partial(ask, client, FlagType.BOOLEAN, "beta")
    assert [in_request(look, name).value for name in ("acme", "globex")] == [True, False]


def test_flags_are_those_of_the_user_of_drf(client: OpenFeatureClient) -> None:
    """In a DRF view its user decides, and not the one of the session."""

    class Flags(APIView):
        permission_classes = ()

        def get(self, request: Any) -> Response:
            return Response(client.get_boolean_details("beta", False).error_code)

    answers = []
    for session_user, user in ((SAM, OLGA), (OLGA, SAM)):
        request: Any = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
        request.user = session_user
        force_authenticate(request, user)
        view: Any = Flags.as_view()
        response: Any = InstanceConfigMiddleware(view)(request)
        answers.append(response.data)
    assert answers == [None, ErrorCode.GENERAL]


def test_flags_in_tests_of_a_site(client: OpenFeatureClient) -> None:
    with override_instance_config("acme", flags={"theme": "test"}), use_instance("acme", user=SAM):
        assert client.get_string_value("theme", "day") == "test"


def test_provider_without_a_field(service: DictConfigService) -> None:
    """It has the booleans of ``features``, and nothing else."""
    client = client_of(InstanceProvider())
    with use_instance("acme", user=OLGA):
        assert ask(client, FlagType.BOOLEAN, "beta").value is True
        assert ask(client, FlagType.STRING, "theme").error_code is ErrorCode.FLAG_NOT_FOUND


@pytest.mark.parametrize("field", InstanceConfig.__struct_fields__)
def test_field_of_every_configuration_is_refused(field: str) -> None:
    """An API key must not become a flag by a typing error."""
    with pytest.raises(ValueError, match="name one that CONFIG_CLASS adds"):
        InstanceProvider(field=field)


def test_field_that_is_not_there(service: DictConfigService) -> None:
    """A spelling error is told at the start, and by each flag."""
    client = client_of(InstanceProvider(field="flgs"))
    assert client.get_provider_status() is ProviderStatus.FATAL
    with use_instance("acme", user=OLGA):
        details = ask(client, FlagType.STRING, "theme")
    assert (details.value, details.error_code) == ("day", ErrorCode.PROVIDER_FATAL)


def changes(client: OpenFeatureClient) -> SimpleQueue[dict[str, Any]]:
    """Return where the changes arrive that the client is told of."""
    told: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def handler(event: EventDetails) -> None:
        assert event.provider_name == "instance_lookup"
        told.put(event.metadata)

    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, handler)
    return told


def test_invalidations_are_told(client: OpenFeatureClient) -> None:
    """Those of one instance with its id, one of all without."""
    told, cache = changes(client), get_resolver().cache
    cache.invalidate("acme")
    assert told.get(timeout=30) == {"instance_id": "acme"}
    cache.expire("globex")
    assert told.get(timeout=30) == {"instance_id": "globex"}
    cache.invalidate_all()
    assert told.get(timeout=30) == {}


def test_nothing_is_told_after_the_end(client: OpenFeatureClient) -> None:
    told, provider = changes(client), client.provider
    provider.shutdown()
    get_resolver().cache.invalidate("acme")
    provider.initialize(EvaluationContext())
    get_resolver().cache.invalidate("globex")
    assert told.get(timeout=30) == {"instance_id": "globex"}
    with pytest.raises(Empty):
        told.get_nowait()


@pytest.mark.extras
def test_invalidations_of_other_processes_are_told(
    settings: Any, service: DictConfigService, redis_server: RedisServer
) -> None:
    """Where this process listens for its near cache: from the first flag on."""
    with near_caches(instances=near_config("django-redis", redis_server.url())):
        options = {"CACHE_ALIAS": "instances", "NEAR_CACHE_TTL": 60.0}
        settings.INSTANCE_LOOKUP = settings.INSTANCE_LOOKUP | options
        client = client_of(InstanceProvider(field="flags"))
        told = changes(client)
        with use_instance("acme", user=OLGA):
            assert client.get_boolean_value("beta", False) is True
        channel = channel_of("instances")
        assert channel is not None
        wait_until(lambda: channel.sure_until)
        with redis.Redis.from_url(redis_server.url()) as other:
            other.publish(channel.name, "project:shop")
            other.publish(channel.name, "instance:not an id")
            other.publish(channel.name, "instance:acme")
            # Before that: what changed before the subscription was not heard, so it may be all.
            assert list(iter(partial(told.get, timeout=30), {"instance_id": "acme"})) in ([], [{}])
            other.publish(channel.name, "*")
            assert told.get(timeout=30) == {}
        api.clear_providers()


def test_handler_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Older SDKs run handlers in the thread of the channel, which all instances need."""

    def tell(details: ProviderEventDetails) -> None:
        raise ZeroDivisionError

    failing = Changes(tell)
    failing.start()
    failing.hear("instance", "acme")
    failing.doubt()
    failing.stop()
    failing.hear("instance", "acme")  # the channel keeps its hearers until they are gone
    assert [each.levelname for each in caplog.records] == ["ERROR", "ERROR"]
    assert "lookups are not affected" in caplog.text
