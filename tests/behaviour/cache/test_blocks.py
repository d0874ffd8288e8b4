"""A blocked instance: no user gets it, whatever the service says, until its time is over."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceCache,
    InstanceConfig,
    InstanceNotFound,
    InstanceResolver,
    InvalidContext,
    LookupUser,
    Source,
    get_resolver,
)
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.exceptions import InstanceBlocked
from instance_lookup.signals import access_denied, instance_invalidated
from instance_lookup.testing import override_instance_config
from tests.support.lookups import (
    ADA,
    DOWN,
    OLGA,
    SAM,
    SECRET,
    VARIANTS,
    Clock,
    HookedCache,
    Service,
    Twin,
    acme,
    asks,
    bucket,
    hooked_caches,
    hooks,
    project,
    provide_variant,
)
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR, DAY = 3600, 86_400
OWN, EXPIRY = "instance_generation:acme", "instance_expiry:acme"
QUICK = {"locmem": [], "django-redis": [pytest.mark.extras]}
OTHERS = [pytest.mark.full, pytest.mark.extras]


@pytest.fixture(
    params=[pytest.param(name, marks=QUICK.get(name, OTHERS)) for name in VARIANTS],
)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The alias of an empty cache: of two kinds, and of all others in a full run."""
    yield from provide_variant(request, tmp_path)


@pytest.fixture
def other_process(resolver: InstanceResolver, alias: str, service: Service) -> InstanceResolver:
    return InstanceResolver(cache_alias=alias, config_service_backend=service)


@pytest.fixture
def hooked(clock: Clock) -> Iterator[None]:
    """A cache that can be interrupted."""
    with override_settings(CACHES=hooked_caches()):
        yield


def is_blocked(resolver: InstanceResolver) -> bool:
    try:
        resolver.resolve(asks())
    except InstanceBlocked:
        return True
    return False


@pytest.mark.parametrize("user", [OLGA, ADA, LookupUser.service()], ids=["owner", "admin", "site"])
@pytest.mark.parametrize("is_cached", [True, False])
def test_block_is_for_every_user(
    resolver: InstanceResolver, service: Service, call: Twin, user: LookupUser, *, is_cached: bool
) -> None:
    """The owner, admins and the site itself are refused, and the service is not asked."""
    if is_cached:
        bucket(resolver)
    call(resolver, "block_instance", "acme", HOUR)
    service.calls.clear()
    for context in asks(user), project(user):
        with pytest.raises(AccessDenied) as caught:
            call(resolver, "resolve", context)
        assert caught.value.details["reason"] == "blocked"
        assert "may not use" in str(caught.value)
    assert "get_instance" not in [method for method, *_ in service.calls]


def test_block_ends_by_itself(resolver: InstanceResolver, clock: Clock, call: Twin) -> None:
    """When the time is over, the service is asked again, and its answer is cached."""
    bucket(resolver)
    end = call(resolver, "block_instance", "acme", timedelta(hours=2))
    assert end == clock.now + 2 * HOUR
    clock.now = end - 0.1
    assert is_blocked(resolver)
    clock.now = end
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert bucket(resolver) == ("first", Source.CACHE)


def test_unblock(resolver: InstanceResolver, other_process: InstanceResolver, call: Twin) -> None:
    """A block is lifted in all processes, once; what is not blocked stays cached."""
    resolver.block_instance("acme", HOUR)
    assert is_blocked(other_process)
    assert call(other_process, "unblock_instance", "acme") is True
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert call(other_process, "unblock_instance", "acme") is False
    assert bucket(other_process) == ("first", Source.CACHE)


def test_block_outlives_every_process(
    resolver: InstanceResolver, alias: str, service: Service
) -> None:
    """It is in the cache, so a process that starts later refuses as well."""
    resolver.block_instance("acme", HOUR)
    key_values.clear()
    assert is_blocked(InstanceResolver(cache_alias=alias, config_service_backend=service))


def _forget(resolver: InstanceResolver, service: Service) -> None:
    del service.instances["acme"]
    with pytest.raises(AccessDenied):
        resolver.refresh("acme")
    service.instances["acme"] = acme("second")


ACTS: dict[str, Callable[[InstanceResolver, Service], object]] = {
    "invalidate": lambda resolver, _: resolver.invalidate_cache("acme"),
    "expire": lambda resolver, _: resolver.cache.expire("acme"),
    "invalidate all": lambda resolver, _: resolver.invalidate_all_caches(),
    "refresh": _forget,
    "block again": lambda resolver, _: resolver.block_instance("acme", DAY),
    "everything evicted": lambda resolver, _: _evict(resolver, "instance_generation"),
    "own evicted": lambda resolver, _: _evict(resolver, OWN),
    "expiry evicted": lambda resolver, _: _evict(resolver, EXPIRY),
}


def _evict(resolver: InstanceResolver, key: str) -> None:
    caches[resolver.settings.cache_alias].delete(key)


@pytest.mark.parametrize("act", ACTS)
def test_block_is_not_lifted_by(
    resolver: InstanceResolver,
    other_process: InstanceResolver,
    service: Service,
    clock: Clock,
    act: str,
) -> None:
    """Only its time and ``unblock`` end a block."""
    end = resolver.block_instance("acme", DAY)
    ACTS[act](other_process, service)
    clock.now = end - 1
    assert is_blocked(resolver)
    assert is_blocked(other_process)
    other_process.unblock_instance("acme")
    assert bucket(resolver)[1] is Source.SERVICE


def test_block_needs_one_of_two_keys(resolver: InstanceResolver) -> None:
    """A cache that drops both keys has lost the block, as docs/explanation/security.md says."""
    resolver.block_instance("acme", DAY)
    _evict(resolver, OWN)
    _evict(resolver, EXPIRY)
    assert bucket(resolver) == ("first", Source.SERVICE)


def test_another_block_sets_another_end(resolver: InstanceResolver, clock: Clock) -> None:
    """The last block counts, also if it is the shorter one."""
    resolver.block_instance("acme", DAY)
    resolver.block_instance("acme", 10)
    clock.now += 10
    assert bucket(resolver) == ("first", Source.SERVICE)


def test_block_during_fetch(
    resolver: InstanceResolver,
    other_process: InstanceResolver,
    service: Service,
    clock: Clock,
    call: Twin,
) -> None:
    """An answer that was under way is neither served nor used when the time is over."""
    service.meanwhile = lambda: other_process.block_instance("acme", HOUR)
    with pytest.raises(InstanceBlocked):
        call(resolver, "resolve", asks())
    service.instances["acme"] = acme("second")
    clock.now += HOUR
    assert bucket(resolver) == ("second", Source.SERVICE)


def test_block_during_fetch_that_fails(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A stale copy that a caller holds is not served once its instance is blocked."""
    bucket(resolver)
    clock.now += 300
    service.failure = DOWN
    service.meanwhile = lambda: other_process.block_instance("acme", HOUR)
    with pytest.raises(InstanceBlocked):
        resolver.resolve(asks())


def test_block_during_a_refresh(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service
) -> None:
    """Warming does not get what is blocked, before or meanwhile; the error says until when."""
    service.meanwhile = lambda: other_process.block_instance("acme", HOUR)
    for _ in range(2):
        with pytest.raises(InstanceBlocked, match=r"until 2027-01-15 09:00:00 UTC.*--unblock"):
            resolver.refresh("acme")
    assert len(service.calls) == 1


def test_block_during_a_not_found(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service
) -> None:
    """A 404 that was under way does not take the block away."""
    del service.instances["acme"]
    service.meanwhile = lambda: other_process.block_instance("acme", HOUR)
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks())
    service.instances["acme"] = acme("second")
    assert is_blocked(resolver)


@pytest.mark.parametrize("is_there", [True, False])
def test_block_and_the_service_is_asked_all_the_same(
    alias: str, service: Service, clock: Clock, *, is_there: bool
) -> None:
    """With CONCEAL_DENIED the service is asked; no answer is stored, and a 404 lifts nothing."""
    resolver = InstanceResolver(
        cache_alias=alias, config_service_backend=service, conceal_denied=True
    )
    end = resolver.block_instance("acme", HOUR)
    if not is_there:
        del service.instances["acme"]
    for _ in range(2):
        with pytest.raises(InstanceNotFound) as caught:
            resolver.resolve(asks())
        assert "reason" not in caught.value.details
    assert len(service.calls) == 1  # told again, as of what does not exist
    service.instances["acme"] = acme("second")
    clock.now = end - 1
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks(ADA))
    clock.now = end
    assert bucket(resolver) == ("second", Source.SERVICE)


def test_block_reaches_the_near_cache(
    alias: str, service: Service, clock: Clock, call: Twin
) -> None:
    """A copy in the memory of the process goes with the block, and does not come back."""
    resolver = InstanceResolver(
        cache_alias=alias, config_service_backend=service, near_cache_size=10
    )
    for _ in range(3):
        bucket(resolver)
    assert resolver.cache.tiers.near.get("acme") is not None
    call(resolver, "block_instance", "acme", HOUR)
    for _ in range(2):
        with pytest.raises(InstanceBlocked):
            call(resolver, "resolve", asks())
    assert resolver.cache.tiers.near.get("acme") is None


def test_block_with_encryption(alias: str, service: Service, clock: Clock) -> None:
    """A block holds as well where entries are encrypted."""
    fernet = pytest.importorskip("cryptography.fernet")
    key = fernet.Fernet.generate_key().decode()
    resolver = InstanceResolver(
        cache_alias=alias, config_service_backend=service, encryption_keys=[key]
    )
    bucket(resolver)
    resolver.block_instance("acme", HOUR)
    assert is_blocked(resolver)
    resolver.unblock_instance("acme")
    assert bucket(resolver) == ("first", Source.SERVICE)


def test_management_does_not_get_it_either(
    resolver: InstanceResolver, alias: str, call: Twin
) -> None:
    """``InstanceCache`` finds nothing, and stores nothing."""
    cache = InstanceCache(alias)
    generation = cache.generation("acme")
    call(cache, "block", "acme", HOUR)
    config = InstanceConfig(instance_id="acme")
    for more in {}, {"generation": generation}:
        with pytest.raises(InstanceBlocked):
            call(cache, "set", "acme", config, **more)
    assert call(cache, "get", "acme", allow_stale=True) is None
    assert call(cache, "has", "acme") is False
    assert call(cache, "unblock", "acme") is True
    call(cache, "set", "acme", config)
    assert call(cache, "has", "acme") is True


def test_management_of_block_in_empty_cache(alias: str, call: Twin) -> None:
    """Where the cache holds no generation of all ids yet, the error is that of a block as well."""
    cache = InstanceCache(alias)
    call(cache, "block", "acme", HOUR)
    for verb, *args in ("generation",), ("set", InstanceConfig(instance_id="acme")):
        with pytest.raises(InstanceBlocked):
            call(cache, verb, "acme", *args)
    with pytest.raises(InstanceBlocked):
        call(cache, "warm", [InstanceConfig(instance_id="acme")])


def test_cache_that_fails_later(
    hooked: None, service: Service, clock: Clock, refuses_at_once: None
) -> None:
    """While the cache is down a process goes by what it last read there: it goes on to refuse."""
    knows, knows_not = (InstanceResolver(config_service_backend=service) for _ in range(2))
    monotonic = Monotonic(knows)
    knows_not.block_instance("acme", HOUR)
    assert is_blocked(knows)
    knows_not.cache.tiers.shared.blocks.remember("acme", 0.0)

    def fail(verb: str, key: str) -> None:
        raise ConnectionError

    with hooks(fail):
        for _ in range(2):
            assert is_blocked(knows)
        assert bucket(knows_not)[1] is Source.SERVICE
    knows_not.unblock_instance("acme")
    monotonic.now += 10
    assert bucket(knows)[1] is Source.SERVICE


def test_cache_that_fails_during_fetch(hooked: None, service: Service, clock: Clock) -> None:
    """A block of this process holds for its fetch under way when the cache fails in between."""
    resolver = InstanceResolver(config_service_backend=service)

    def fail(verb: str, key: str) -> None:
        raise ConnectionError

    def block() -> None:
        resolver.block_instance("acme", HOUR)
        HookedCache.hook = staticmethod(fail)

    service.meanwhile = block
    with hooks(lambda verb, key: None), pytest.raises(InstanceBlocked):
        resolver.refresh("acme")


def test_look_for_a_block_that_fails(hooked: None, service: Service, clock: Clock) -> None:
    """Where only the look after a fetch fails, the answer is served."""
    resolver = InstanceResolver(config_service_backend=service)
    stored = []

    def fail(verb: str, key: str) -> None:
        if verb == "touch":
            stored.append(key)
        elif verb == "get" and stored and OWN in key:
            raise ConnectionError

    with hooks(fail):
        assert resolver.refresh("acme").config.r2_bucket == "first"
    assert stored


def test_cache_that_hides_its_failures(hooked: None, service: Service, clock: Clock) -> None:
    """A process that knows of a block goes on to refuse where nothing can be read or written."""
    resolver = InstanceResolver(config_service_backend=service)
    resolver.block_instance("acme", HOUR)
    assert is_blocked(resolver)
    with hooks(lambda verb, key: HookedCache.SKIP):
        assert is_blocked(resolver)


@pytest.mark.parametrize("key", [OWN, EXPIRY])
def test_block_that_is_not_kept(hooked: None, service: Service, key: str) -> None:
    """A cache that swallows one of the writes is an error: to be blocked again."""
    resolver = InstanceResolver(config_service_backend=service)
    with (
        hooks(lambda verb, name: HookedCache.SKIP if verb == "set" and key in name else None),
        pytest.raises(CacheError, match=r"did not keep a block of 'acme'.* Block it again"),
    ):
        resolver.block_instance("acme", HOUR)


def test_cache_that_keeps_nothing() -> None:
    """A block of a cache that keeps nothing by design is an error: it would not hold."""
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=dummy), pytest.raises(CacheError, match="did not keep a block"):
        InstanceCache().block("acme", HOUR)


RACING: dict[str, Callable[[InstanceResolver], object]] = {
    "invalidate": lambda resolver: resolver.invalidate_cache("acme"),
    "expire": lambda resolver: resolver.cache.expire("acme"),
    "not found": lambda resolver: resolver.refresh("nil"),
    "fetch": lambda resolver: resolver.refresh("acme"),
    "lookup": lambda resolver: resolver.resolve(asks()),
}


class Interruption:
    """Blocks an instance before one of the steps that another process does with the cache."""

    def __init__(self, service: Service, asked: str, before: int) -> None:
        self._resolver = InstanceResolver(config_service_backend=service)
        self._asked, self._before = asked, before
        self.steps = 0

    def __call__(self, verb: str, key: str) -> None:
        if self.steps == self._before:
            self._resolver.block_instance(self._asked, DAY)
        self.steps += 1


@pytest.mark.parametrize("act", RACING)
def test_block_at_any_step_of(hooked: None, service: Service, clock: Clock, act: str) -> None:
    """Whatever another process does with the cache at that moment, the block is there afterwards.

    For all of its time: nothing has shortened the life of both its keys.
    """
    asked = "nil" if act == "not found" else "acme"
    for step in range(40):
        caches["default"].clear()
        HookedCache.lives.clear()
        resolver = InstanceResolver(config_service_backend=service)
        interruption = Interruption(service, asked, step)
        if act == "not found":
            service.instances["nil"] = acme("", instance_id="nil")
            resolver.refresh("nil")
            del service.instances["nil"]
        with hooks(interruption), suppress(AccessDenied, InstanceNotFound):
            RACING[act](resolver)
        if interruption.steps <= step:
            assert step >= 3
            return
        for each in resolver, InstanceResolver(config_service_backend=service):
            with pytest.raises(InstanceBlocked):
                each.resolve(asks(instance_id=asked))
        lives = [life for key, life in HookedCache.lives.items() if key.endswith(f":{asked}")]
        assert max(life or 0 for life in lives) > DAY
    raise AssertionError("it takes more steps than that")


def test_keys_outlive_the_block(hooked: None, service: Service, clock: Clock) -> None:
    """Both keys are kept until after the end, whatever is looked up or invalidated meanwhile."""
    resolver = InstanceResolver(config_service_backend=service)
    resolver.block_instance("acme", DAY)
    for _ in range(2):
        assert is_blocked(resolver)
        resolver.invalidate_cache("acme")
        resolver.cache.expire("acme")
    lives = {key.rpartition("instance_")[2]: life for key, life in HookedCache.lives.items()}
    assert (lives["generation:acme"] or 0) > DAY
    assert (lives["expiry:acme"] or 0) > DAY


def test_answer_kept_in_an_outage_is_not_served(
    hooked: None, service: Service, clock: Clock, refuses_at_once: None
) -> None:
    """What a read-only cache did not take is not served once the instance is blocked."""
    resolver = InstanceResolver(config_service_backend=service)

    def refuse(verb: str, key: str) -> None:
        if verb == "set" and "config" in key:
            raise ConnectionError

    with hooks(refuse):
        bucket(resolver)
        assert bucket(resolver)[1] is Source.CACHE
        InstanceResolver(config_service_backend=service).block_instance("acme", HOUR)
        assert is_blocked(resolver)


@pytest.mark.parametrize("duration", [0, 0.9, -1, 367 * DAY, float("nan"), True, "24h", None])
def test_duration_that_is_wrong(duration: Any) -> None:
    """A block takes from a second to 366 days."""
    with pytest.raises(ValueError, match="from 1 second to 366 days"):
        get_resolver().block_instance("acme", duration)


def test_block_of_no_id() -> None:
    """A malformed id is refused as everywhere."""
    for verb, *more in ("block_instance", HOUR), ("unblock_instance",):
        with pytest.raises(InvalidContext):
            getattr(get_resolver(), str(verb))("no/id", *more)


def test_what_is_told(
    hooked: None, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has a WARNING when a block is set or lifted, the signals tell; without keys."""
    told: list[Any] = []

    def deny(*, by: str, instance_id: str, user_id: str, **kwargs: object) -> None:
        told.append((by, instance_id, user_id))

    def drop(*, instance_id: str, expired: bool, **kwargs: object) -> None:
        told.append((instance_id, expired))

    access_denied.connect(deny)
    instance_invalidated.connect(drop)
    resolver = InstanceResolver(config_service_backend=service)
    bucket(resolver)
    resolver.block_instance("acme", HOUR)
    assert is_blocked(resolver)
    resolver.unblock_instance("acme")
    assert told == [("acme", False), ("block", "acme", "olga"), ("acme", False)]
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "WARNING"]
    assert lines[0][1].startswith("Instance 'acme' is blocked until 2027-01-15 09:00:00 UTC: ")
    assert lines[1][1].startswith("The block of instance 'acme' is lifted: ")
    assert SECRET not in caplog.text
    assert resolver.get_cache_stats().evictions == 1


def test_others_are_not_blocked(hooked: None, service: Service, clock: Clock) -> None:
    """A block is of one instance, and a stranger to that is denied as before."""
    service.instances["globex"] = acme("", instance_id="globex")
    resolver = InstanceResolver(config_service_backend=service)
    resolver.block_instance("acme", HOUR)
    assert resolver.resolve(asks(instance_id="globex")).source is Source.SERVICE
    with pytest.raises(AccessDenied) as caught:
        resolver.resolve(asks(SAM, "globex"))
    assert "reason" not in caught.value.details


def test_override_is_not_blocked(settings: Any) -> None:
    """A test's override answers past the cache, so past its blocks."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": Service()}
    get_resolver().block_instance("test", HOUR)
    with override_instance_config():
        assert get_resolver().resolve(asks(instance_id="test")).config.instance_id == "test"


def test_service_down_and_blocked(resolver: InstanceResolver, service: Service) -> None:
    """A block needs no service."""
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())
    resolver.block_instance("acme", HOUR)
    assert is_blocked(resolver)


def test_block_of_no_date(resolver: InstanceResolver, alias: str, call: Twin) -> None:
    """What a writer to the cache puts there for a block until after the last date blocks nothing.

    There is a last date that can be shown.
    """
    bucket(resolver)
    key_values[alias].set(OWN, f"guntil{'9' * 12}g{'0' * 16}", HOUR)
    assert call(resolver, "resolve", asks()).config.r2_bucket == "first"
    key_values[alias].set(OWN, f"guntil{'9' * 10}g{'0' * 16}", HOUR)
    with pytest.raises(InstanceBlocked, match="blocked until 2286-11-20"):
        call(resolver.cache, "set", "acme", InstanceConfig(instance_id="acme"))


def test_block_that_a_failover_undoes(
    resolver: InstanceResolver,
    other_process: InstanceResolver,
    alias: str,
    service: Service,
    clock: Clock,
) -> None:
    """A process that had read of the block caches again, though it finds what it knew before."""
    bucket(resolver)
    bucket(resolver)
    keys = "instance_config:acme", "instance_generation", OWN, EXPIRY
    before = dict(zip(keys, key_values[alias].get_many(keys), strict=True))
    other_process.block_instance("acme", HOUR)
    assert is_blocked(resolver)
    for key, value in before.items():
        if value is None:
            caches[alias].delete(key)
        else:
            key_values[alias].set(key, value, HOUR)
    assert bucket(resolver) == ("first", Source.CACHE)
    clock.now += 301
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert bucket(resolver) == ("first", Source.CACHE)
