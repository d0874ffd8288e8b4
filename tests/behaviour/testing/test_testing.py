from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import Any
from unittest import result as unittest_result
from wsgiref.simple_server import WSGIRequestHandler, make_server

import msgspec
import pytest
import requests
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory, SimpleTestCase

from instance_lookup import (
    AccessDenied,
    InstanceConfig,
    InstanceMetadata,
    LookupContext,
    LookupUser,
    RateLimit,
    Source,
    get_resolver,
    resolve_instance,
)
from instance_lookup.access import HasFeature, HasRole, IsAdmin, IsOwner, IsTenantMember
from instance_lookup.request.attributes import attach
from instance_lookup.testing import override_instance_config
from tests.support.doors import CALLERS, Caller

NOBODY = LookupContext(LookupUser.anonymous())


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base
        return


class OwnConfig(InstanceConfig, frozen=True, kw_only=True):
    colour: str = "white"
    tone: str = msgspec.field(name="shade", default="dark")


@pytest.mark.parametrize("path", ["plain", "aplain", "required", "arequired", "aadmins", "owners"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_view_gets_the_config_whoever_asks(path: str, is_async: bool) -> None:
    """Under an override a view gets the config without header, log-in, service or cache."""
    with override_instance_config("mine"):
        assert Caller(is_async=is_async)(path).content == b"mine"

    assert not vars(caches["default"])["_cache"]


def test_override_needs_no_settings(settings: Any) -> None:
    """An override works without any settings."""
    settings.INSTANCE_LOOKUP = {}

    with override_instance_config() as config:
        assert resolve_instance(NOBODY) is config
    assert config.instance_id == "test"


def test_result_is_fresh_from_the_service() -> None:
    """The result of an override is fresh and comes from the service."""
    with override_instance_config():
        result = get_resolver().resolve(NOBODY)

    assert result.source is Source.SERVICE
    assert result.ttl_remaining == 300


def test_fields_may_be_values_or_plain_data() -> None:
    """Fields of an override may be values or plain data, also nested ones."""
    limits = {"a": RateLimit(rpm=1), "b": {"rpm": 2}}
    metadata = InstanceMetadata(owner="olga")
    with override_instance_config(metadata=metadata, rate_limits=limits, api_keys={"k": "v"}) as c:
        assert c.metadata.owner == "olga"
        assert c.rate_limits == {"a": RateLimit(rpm=1), "b": RateLimit(rpm=2)}
        assert c.api_keys["k"] == "v"
    with override_instance_config(metadata={"owner": "sam"}) as c:
        assert c.metadata.owner == "sam"


def test_fields_are_those_of_the_config_class(settings: Any) -> None:
    """Fields of the project's config class are given by the names that the service uses."""
    settings.INSTANCE_LOOKUP = {"CONFIG_CLASS": OwnConfig}

    with override_instance_config(colour="red", shade="light") as config:
        assert isinstance(config, OwnConfig)
        assert (config.colour, config.tone) == ("red", "light")


def test_wrong_value_is_reported() -> None:
    """A wrong value raises, as it would in a document of the service."""
    with pytest.raises(msgspec.ValidationError), override_instance_config(features={"beta": "yes"}):
        raise AssertionError


def test_unknown_field_is_reported() -> None:
    """An unknown field raises, so that a typo is noticed."""
    with (
        pytest.raises(TypeError, match=r"featuers.*features"),
        override_instance_config(featuers={"beta": True}),
    ):
        raise AssertionError


def test_inner_override_wins_and_the_outer_returns() -> None:
    """The inner override wins; after it, also after an error, the outer one is back."""
    with override_instance_config("outer"):
        with suppress(ZeroDivisionError), override_instance_config("inner"):
            assert resolve_instance(NOBODY).instance_id == "inner"
            raise ZeroDivisionError
        assert resolve_instance(NOBODY).instance_id == "outer"
    with pytest.raises(AccessDenied):
        resolve_instance(NOBODY)


def test_one_override_may_be_entered_again() -> None:
    """One override may be entered again, since a decorated function may call itself."""
    override = override_instance_config("mine")
    with override, override:
        pass
    with pytest.raises(AccessDenied):
        resolve_instance(NOBODY)


@override_instance_config("decorated")
def test_function_is_decorated() -> None:
    """A decorated function runs with the config."""
    assert resolve_instance(NOBODY).instance_id == "decorated"


@override_instance_config("decorated")
async def test_coroutine_function_is_decorated() -> None:
    """A decorated coroutine function has the config until it ends."""
    assert (await get_resolver().aresolve(NOBODY)).config.instance_id == "decorated"


async def test_async_context_manager() -> None:
    """An override works with ``async with``."""
    async with override_instance_config("mine") as config:
        request: Any = RequestFactory().get("/")
        attach(request)
        assert await request.ainstance_config() is config
    with pytest.raises(AccessDenied):
        await get_resolver().aresolve(NOBODY)


def test_test_case_is_decorated() -> None:
    """A decorated test case has the override in each method, sync and async, and in ``setUp``."""
    seen: list[str] = []

    @override_instance_config("decorated")
    class Case(SimpleTestCase):
        def setUp(self) -> None:
            seen.append(resolve_instance(NOBODY).instance_id)

        def test_sync(self) -> None:
            seen.append(self.client.get("/plain").text)

        async def test_async(self) -> None:
            seen.append((await self.async_client.get("/aplain")).content.decode())

    for name in ("test_sync", "test_async"):
        result = unittest_result.TestResult()
        Case(name)(result)
        assert result.wasSuccessful(), result.errors
    assert seen == ["decorated"] * 4
    with pytest.raises(AccessDenied):
        resolve_instance(NOBODY)


def test_override_holds_in_other_threads() -> None:
    """An override holds in other threads, such as that of a live server."""
    seen: list[str] = []
    with override_instance_config("mine"):
        thread = Thread(target=lambda: seen.append(resolve_instance(NOBODY).instance_id))
        thread.start()
        thread.join()

    assert seen == ["mine"]


def test_override_holds_in_a_live_server() -> None:
    """An override holds in a live server, as for Selenium tests."""
    with (
        make_server("127.0.0.1", 0, WSGIHandler(), handler_class=Silent) as server,
        override_instance_config("mine"),
        requests.Session() as session,
    ):
        Thread(target=server.handle_request).start()
        session.trust_env = False
        assert (
            session.get(f"http://127.0.0.1:{server.server_port}/plain", timeout=10).text == "mine"
        )


@pytest.mark.parametrize(
    "policy", [IsOwner(), IsAdmin(), IsTenantMember(), HasRole("editor"), IsOwner() & IsAdmin()]
)
def test_everybody_passes_for_everything(policy: Any) -> None:
    """Each policy lets each user in; a test of access sets ``enforce_access``."""
    with override_instance_config(metadata={"owner": "olga"}) as config:
        assert get_resolver().permits(policy, LookupUser.anonymous(), config)


def test_features_are_looked_at() -> None:
    """Features are checked under an override, since tests of views switch them."""
    with override_instance_config(features={"beta": True}) as config:
        assert get_resolver().permits(HasFeature("beta"), LookupUser.anonymous(), config)
        assert not get_resolver().permits(HasFeature("gamma"), LookupUser.anonymous(), config)


def test_enforced_access_is_the_projects_own() -> None:
    """With ``enforce_access`` the project's ``ACCESS_POLICY`` decides, and anonymous is refused."""
    with override_instance_config(enforce_access=True, metadata={"owner": "olga"}) as config:
        assert resolve_instance(LookupContext(LookupUser("olga"))) is config
        assert get_resolver().permits(IsOwner(), LookupUser("olga"), config)
        for user in (LookupUser("sam"), LookupUser.anonymous()):
            with pytest.raises(AccessDenied):
                resolve_instance(LookupContext(user))
            assert not get_resolver().permits(IsOwner(), user, config)
