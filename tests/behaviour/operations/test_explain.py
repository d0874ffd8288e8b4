"""An explanation says what a lookup would do, and changes nothing."""

from __future__ import annotations

import json
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.test import RequestFactory

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from instance_lookup.access import Policy
from instance_lookup.backends.base import Document, NotModified
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.identifiers import HeaderIdentifier, ProjectIdentifier
from instance_lookup.operations.explain import Explanation, aexplain, explain
from instance_lookup.testing.cache import faulty_cache
from tests.support.lookups import ACME, ADA, DOWN, OLGA, SAM, SECRET, Clock, asks, project

if TYPE_CHECKING:
    from instance_lookup.backends.base import Query

SERVICE, NOBODY = LookupUser.service(), LookupUser.anonymous()


class Service(DictConfigService):
    """Knows ``acme`` and its project ``shop``; refuses whom it is told to."""

    def __init__(self) -> None:
        super().__init__({"acme": ACME}, {"shop": "acme", "other": "globex"})
        self.refused: set[str | None] = set()

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if query.user_id in self.refused:
            raise AccessDenied("not you")
        return super().get_instance(instance_id, query)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service)


def states(told: Explanation) -> dict[str, str]:
    """Return the state of each layer of the instance."""
    return {layer.name: layer.state for layer in told.layers if layer.of == "instance 'acme'"}


def note(told: Explanation, name: str) -> str:
    return next(layer.note for layer in told.layers if layer.name == name)


def status(resolver: InstanceResolver, context: LookupContext) -> int:
    """Return the status that a lookup ends with."""
    try:
        resolver.resolve(context)
    except InstanceLookupError as exc:
        return exc.status_code
    return 200


# -- what it says is what happens ----------------------------------------------------------------


def _fresh(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    resolver.resolve(asks(SERVICE))
    resolver.resolve(project(SERVICE))


def _stale(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _fresh(resolver, service, clock)
    clock.now += 400


def _stale_and_down(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _stale(resolver, service, clock)
    service.failure = DOWN


def _expired(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _fresh(resolver, service, clock)
    resolver.cache.expire("acme")


def _invalidated(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _fresh(resolver, service, clock)
    resolver.invalidate_cache("acme")


def _negative(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    service.instances.clear()
    status(resolver, asks(SERVICE))


def _down(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    service.failure = DOWN


def _refused(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _fresh(resolver, service, clock)
    service.refused = {"olga", "sam"}
    resolver.cache.expire("acme")
    status(resolver, asks(OLGA))


def _blocked(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    _fresh(resolver, service, clock)
    resolver.block_instance("acme", 600)


def _absent(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """Leave everything as it is."""


STATES = [
    *[
        _absent,
        _fresh,
        _stale,
        _stale_and_down,
        _expired,
        _invalidated,
        _negative,
        _down,
        _refused,
        _blocked,
    ]
]


@pytest.mark.parametrize("conceal", [False, True])
@pytest.mark.parametrize("user", [OLGA, SAM, ADA, NOBODY], ids=["olga", "sam", "ada", "nobody"])
@pytest.mark.parametrize("prepare", STATES, ids=lambda each: each.__name__)
def test_explanation_comes_true(
    service: Service, clock: Clock, prepare: Any, user: LookupUser, conceal: bool
) -> None:
    """In each state a lookup ends as the explanation says, which may leave it to the service."""
    resolver = InstanceResolver(config_service_backend=service, conceal_denied=conceal)
    prepare(resolver, service, clock)
    beside = [asks(user, project_id=name) for name in ("shop", "other")]
    contexts = [asks(user), project(user), *beside, asks(user, "no way")]
    for context in contexts:
        without, asked = explain(resolver, context), explain(resolver, context, ask=True)
        came = status(resolver, context)
        assert asked.ending.status == came
        assert without.ending.status in (None, came)
        service_failed = service.failure is not None
        if without.ending.status is None and service_failed:
            assert without.ending.otherwise == came


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("prepare", STATES, ids=lambda each: each.__name__)
def test_explanation_changes_nothing(
    service: Service, clock: Clock, prepare: Any, ask: bool
) -> None:
    """No key of the cache, no count and no call is there that was not there before."""
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=10)
    prepare(resolver, service, clock)
    before = _all_that_is_kept(resolver)
    calls = len(service.calls)
    for user in (OLGA, SAM):
        for context in (asks(user), project(user), asks(user, "unknown")):
            explain(resolver, context, ask=ask)
    assert _all_that_is_kept(resolver) == before
    assert ask or len(service.calls) == calls


def _all_that_is_kept(resolver: InstanceResolver) -> list[Any]:
    cache: Any = caches["default"]
    loaders = (resolver._load_config, resolver._load_project)
    return [
        dict(cache._cache),
        resolver.get_cache_stats(),
        [list(each._cache.near._known) for each in loaders],
        [dict(each._refusals._refused.items) for each in loaders],
        [dict(each._fetcher._resting.items) for each in loaders],
        [dict(each._flights.budget._full_at) for each in loaders],
        dict(resolver._load_config._fetcher.service_health.service.failing),
    ]


# -- the layers ----------------------------------------------------------------------------------


def test_fresh_entry(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """A fresh entry is served: its age, and until when it is served."""
    resolver.resolve(asks())
    clock.now += 10
    told = explain(resolver, asks())
    assert states(told) == {
        "near": "off",
        "shared": "fresh",
        "flight": "none",
        "service": "not asked",
    }
    shared = told.layers[1]
    assert (shared.age, shared.ttl_left, shared.purged_in) == (10, 290, 3590)
    assert shared.took is not None
    assert (told.ending.status, told.ending.source) == (200, "cache")
    assert (told.instance_id, told.named) == ("acme", "instance 'acme'")


def test_near_entry_is_not_moved_up(service: Service) -> None:
    """The near tier is looked at without making the entry the one that was used last."""
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=10)
    service.instances["zeta"] = ACME | {"instance_id": "zeta"}
    for instance_id in ("acme", "zeta"):
        resolver.resolve(asks(SERVICE, instance_id))
        resolver.resolve(asks(SERVICE, instance_id))
    order = list(resolver.cache.tiers.near._known)
    told = explain(resolver, asks(instance_id="acme"))
    assert states(told)["near"] == "fresh"
    assert list(resolver.cache.tiers.near._known) == order == ["acme", "zeta"]


def test_near_entry_that_is_too_old(service: Service, clock: Clock) -> None:
    """An entry in memory that would not be served is none."""
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=10)
    resolver.resolve(asks())
    clock.now += 299
    assert states(explain(resolver, asks()))["near"] == "absent"


def test_flight_under_way(resolver: InstanceResolver, service: Service) -> None:
    """A fetch of the id that is under way in this process is told."""
    begun, go = Event(), Event()

    def answer(instance_id: str, query: Query) -> Document:
        begun.set()
        go.wait(30)
        return Document(json.dumps(ACME).encode())

    resolver._load_config._fetcher._fetch = answer
    thread = Thread(target=status, args=(resolver, asks()))
    thread.start()
    try:
        assert begun.wait(30)
        assert states(explain(resolver, asks()))["flight"] == "under way"
        (_, _, other, _) = explain(resolver, asks(instance_id="other")).layers
        assert other.state == "none"
    finally:
        go.set()
        thread.join(30)


@pytest.mark.parametrize(
    ("prepare", "state", "said"),
    [
        (_expired, "stale", "expired by hand"),
        (_negative, "negative", ""),
        (_invalidated, "absent", ""),
    ],
)
def test_state_of_the_shared_tier(
    resolver: InstanceResolver,
    service: Service,
    clock: Clock,
    prepare: Any,
    *,
    state: str,
    said: str,
) -> None:
    """What the cache holds has its state, and a note where the state does not say all."""
    prepare(resolver, service, clock)
    told = explain(resolver, asks())
    assert (states(told)["shared"], note(told, "shared")) == (state, said)


def test_entry_that_does_not_count(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """An entry that is too old, or cannot be read, has a note; an old "does not exist" is none."""
    resolver.resolve(asks())
    clock.now += 4000
    told = explain(resolver, asks())
    assert note(told, "shared") == "what is stored was invalidated, or is too old"
    key = resolver.cache.tiers.shared._known("acme").keys.entry
    caches["default"].set(key, "{}")
    told = explain(resolver, asks())
    assert states(told)["shared"] == "unreadable"
    assert "encrypted with another key" in note(told, "shared")
    status(resolver, asks(SERVICE, "unknown"))
    clock.now += 40
    told = explain(resolver, asks(instance_id="unknown"))
    assert told.layers[1].state == "absent"


def test_cache_that_is_down(service: Service) -> None:
    """A cache that is down is a state of its layer; then it is left alone, as by lookups."""
    with faulty_cache() as faults:
        resolver = InstanceResolver(config_service_backend=service)
        faults.fail()
        told = explain(resolver, asks(), ask=True)
        assert told.cache_failed
        assert "ConnectionError" in note(told, "shared")
        assert told.ending.status == 200
        resolver.resolve(asks())
        told = explain(resolver, asks())
        assert "is not asked for" in note(told, "shared")
        assert "this process keeps an answer" in note(told, "shared")
        assert (told.ending.status, told.ending.source) == (200, "cache")
        service.failure = DOWN
        told = explain(resolver, asks(OLGA, "unknown"), ask=True)
        assert (told.ending.status, told.cache_failed) == (503, True)


def test_block(service: Service, clock: Clock) -> None:
    """A block is a state of the shared tier and the verdict, also while the cache is down."""
    with faulty_cache() as faults:
        resolver = InstanceResolver(config_service_backend=service)
        _blocked(resolver, service, clock)
        told = explain(resolver, asks(), ask=True)
        assert states(told)["shared"] == "blocked"
        assert told.verdict is not None
        assert str(told.verdict).startswith(
            "Block: no: Instance 'acme' is blocked until 2027-01-15"
        )
        assert (told.ending.status, note(told, "service")) == (403, "the instance is blocked")
        faults.fail()
        told = explain(resolver, asks())
        assert (states(told)["shared"], told.ending.status) == ("down", 403)
        assert note(told, "shared").startswith("until 2027-01-15")


def test_service_that_is_left_alone(service: Service, clock: Clock) -> None:
    """While the service is left alone that is the answer, unless it is to be asked."""
    resolver = InstanceResolver(config_service_backend=service, breaker_failures=1)
    service.failure = ConfigServiceUnavailable("down", reason="status", status=500)
    status(resolver, asks(OLGA, "acme"))
    told = explain(resolver, asks(OLGA, "acme"))
    assert (told.ending.status, told.ending.message[-14:]) == (503, "(circuit_open)")
    assert "left alone after failures; again in 10 s; failing here: status" in note(told, "service")
    service.failure = None
    assert explain(resolver, asks(), ask=True).ending.status == 200


def test_id_that_is_left_alone(service: Service) -> None:
    """An id that fails again and again is left alone by itself."""
    resolver = InstanceResolver(config_service_backend=service, breaker_failures=2)
    service.failure = ConfigServiceUnavailable("down", reason="rejected")
    for _ in range(2):
        status(resolver, asks(OLGA, "acme"))
    assert explain(resolver, asks()).ending.message.endswith("(backing_off)")


def test_stale_copy_while_the_service_rests(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A copy is served while the service rests after a failure."""
    _stale_and_down(resolver, service, clock)
    assert explain(resolver, asks()).ending.otherwise == 200
    status(resolver, asks())
    told = explain(resolver, asks())
    assert (told.ending.status, told.ending.source) == (200, "stale_cache")
    assert note(told, "service").startswith("it failed lately, and there is a copy")


@pytest.mark.parametrize("conceal", [False, True])
def test_budget_that_is_spent(service: Service, conceal: bool) -> None:
    """A user without a budget left is told 429, and the service is not asked then either."""
    resolver = InstanceResolver(
        config_service_backend=service, miss_budget=1, conceal_denied=conceal
    )
    status(resolver, asks(OLGA, "unknown"))
    told = explain(resolver, asks(OLGA, "acme"), ask=True)
    assert (told.ending.status, told.ending.error) == (429, "MISS_BUDGET_SPENT")
    assert "MISS_BUDGET" in note(told, "service")


def test_stale_copy_that_may_not_be_used(service: Service, clock: Clock) -> None:
    """With USE_STALE_ON_ERROR off a stale copy counts for nothing."""
    resolver = InstanceResolver(config_service_backend=service, use_stale_on_error=False)
    _stale(resolver, service, clock)
    told = explain(resolver, asks())
    assert (told.ending.status, told.ending.otherwise, told.verdict) == (None, 503, None)


# -- who and which -------------------------------------------------------------------------------


def test_owner_that_is_a_username_and_no_owner_differ(service: Service) -> None:
    """An owner recorded as a username, and no owner, have a hint each."""
    resolver = InstanceResolver(config_service_backend=service)
    told = explain(resolver, asks(LookupUser("7")), ask=True, names=["olga"])
    (hint,) = told.hints
    assert "'olga' is this user's name" in hint
    service.instances["acme"] = ACME | {"metadata": {}}
    (hint,) = explain(resolver, asks(LookupUser("7")), ask=True, names=["olga"]).hints
    assert "records no owner" in hint


class Raises:
    def identify(self, context: Any, request: Any = None) -> Any:
        raise OSError(SECRET)


class NamesNothing:
    def identify(self, context: Any, request: Any = None) -> Any:
        return None


def test_identifiers_in_order(service: Service) -> None:
    """Each identifier's answer is told, and which of them a lookup does not ask."""
    identifiers = (NamesNothing(), ProjectIdentifier(), HeaderIdentifier(), NamesNothing())
    resolver = InstanceResolver(config_service_backend=service, identifiers=identifiers)
    told = explain(resolver, LookupContext(OLGA, project_id="shop"))
    assert [(each.name, each.said) for each in told.identifiers] == [
        ("NamesNothing", "nothing"),
        ("ProjectIdentifier (X-Project-ID)", "project 'shop'"),
        ("HeaderIdentifier (X-Instance-ID)", "nothing"),
        ("NamesNothing", "not asked"),
    ]
    told = explain(resolver, asks(project_id="shop"))
    assert [each.said for each in told.identifiers] == ["instance 'acme'", *["not asked"] * 4]
    assert told.named == "instance 'acme' in project 'shop'"


def test_identifier_that_names_what_is_no_id(resolver: InstanceResolver) -> None:
    """A malformed id ends the lookup, and is told of the identifier that found it."""
    request = RequestFactory().get("/", headers={"X-Instance-ID": "acme,globex"})
    told = explain(resolver, LookupContext(OLGA, request=request))
    assert told.identifiers[0].said.startswith("'acme,globex' is not a valid instance id")
    assert [each.said for each in told.identifiers[1:]] == ["not asked", "not asked"]
    assert (told.ending.status, told.named) == (400, None)


def test_identifier_that_fails(service: Service) -> None:
    """An identifier that raises is part of the explanation, without the text of its error."""
    resolver = InstanceResolver(config_service_backend=service, identifiers=(Raises(),))
    told = explain(resolver, LookupContext(OLGA))
    assert told.identifiers[0].said == "raised OSError"
    assert (told.ending.status, told.ending.error) == (500, "OSError")
    assert SECRET not in json.dumps(told.as_dict())


def test_policy_that_fails(service: Service) -> None:
    """A policy that raises is a failure of the lookup, and the tree says which part."""

    class Broken(Policy):
        def allows(self, user: LookupUser, config: Any) -> bool:
            raise OSError(SECRET)

    resolver = InstanceResolver(config_service_backend=service, access_policy=Broken())
    told = explain(resolver, asks(), ask=True)
    assert told.ending.status == 500
    assert told.ending.message == "The policy failed: Broken: failed: raised OSError"
    assert told.is_refused


@pytest.mark.parametrize(
    ("user", "shown"),
    [(OLGA, "user 'olga'"), (NOBODY, "anonymous"), (SERVICE, "the site itself")],
)
def test_user_of_an_explanation(resolver: InstanceResolver, user: LookupUser, shown: str) -> None:
    """It says who asks."""
    assert explain(resolver, asks(user)).user == shown


def test_project_beside_an_instance_is_open_without_the_service(
    resolver: InstanceResolver, service: Service
) -> None:
    """Whether a project is of the instance may be for the service to say, too."""
    resolver.resolve(asks())
    told = explain(resolver, asks(project_id="shop"))
    assert (told.ending.status, told.ending.otherwise) == (None, 503)
    assert "project 'shop' is of this instance" in told.ending.message
    service.failure = DOWN
    assert explain(resolver, asks(project_id="shop"), ask=True).ending.status == 503


async def test_explanation_in_an_event_loop(resolver: InstanceResolver) -> None:
    """In an event loop the twin explains, and the other one refuses."""
    with pytest.raises(SynchronousOnlyOperation, match="aexplain"):
        explain(resolver, asks())
    assert (await aexplain(resolver, asks(), ask=True)).ending.status == 200
