"""What tests of ``CONCEAL_DENIED`` share: worlds that are alike but for what a stranger asks for.

A stranger asks a site for another user's tenant in one world. In a second world, which is the
same, they ask for a tenant that does not exist. All answers must be the same in both worlds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.test import override_settings
from django.urls import URLPattern, path

from instance_lookup import InstanceLookupError, LookupUser, get_resolver
from instance_lookup.fetching.deletions import BELIEVED
from tests.support import urls
from tests.support.caches import cache_config
from tests.support.doors import Caller, owned_by
from tests.support.insides import disconnect
from tests.support.lookups import asks
from tests.support.monotonic import Monotonic
from tests.support.near import at_hand, near_caches
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import pytest
    from django.contrib.auth.models import User

    from instance_lookup.testing import FakeConfigService

ALIAS = "instances"
BUDGET = 3
# Names of one length: a site may send Content-Length.
TENANT, NOBODY = "tenant-a", "nobody-a"
SHOP, NO_SHOP = "shop-a", "none-a"
OWN, OWN_SHOP = "own", "own-shop"
_FOR_OPERATORS = (
    *("invalidations", "Its copy in the cache is invalidated", " gone"),
    *("is blocked", "Refused "),
)
"""Lines that are of no request: of the thread that listens to Redis, of deleted tenants, of blocks.
And those that tell operators what is concealed from users."""
_NAMES = (TENANT, NOBODY, SHOP, NO_SHOP)


def in_projects(patterns: Iterable[Any], names: Iterable[str]) -> list[URLPattern]:
    """Return some views under the URL of a project, of which they take no notice."""
    views = {str(each.pattern): each.callback for each in patterns}
    return [path(f"projects/<project_id>/{name}", _within(views[name])) for name in names]


def _within(view: Any) -> Any:
    if iscoroutinefunction(view):

        async def aview(request: Any, project_id: str) -> Any:
            return await view(request)

        return aview
    return lambda request, project_id: view(request)


VIEWS = ("plain", "aplain", "required", "arequired", "mixed", "amixed")
urlpatterns = [*urls.urlpatterns, *in_projects(urls.urlpatterns, VIEWS)]


@dataclass(frozen=True)
class Asked:
    """The instance or project that a stranger names."""

    instance: str | None = None
    project: str | None = None
    """Of the URL where there is an instance or ``in_url`` says so, else of the header."""
    in_url: bool = False

    def path(self, view: str) -> str:
        in_url = self.in_url or (self.instance and self.project)
        return f"projects/{self.project}/{view}" if in_url else view

    @property
    def headers(self) -> dict[str, str]:
        by_header = self.project is not None and self.path("") == ""
        return {"x_project_id": str(self.project)} if by_header else {}


@dataclass
class World:
    """A site, its service and a stranger, with clocks that stand still."""

    service: FakeConfigService
    owner: User
    stranger: User
    caller: Caller
    view: str
    caplog: pytest.LogCaptureFixture
    sent: dict[str, str] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resolver = get_resolver()
        self.clock = Monotonic(self.resolver)

    def ask(self, asked: Asked) -> int:
        """Ask as the stranger, and note all that this shows, but for the names."""
        self.caplog.clear()
        response = self.caller(
            asked.path(self.view), asked.instance, **asked.headers, **self.sent, x_request_id="r-1"
        )
        logged = [
            (record.name, record.levelname, nameless(record.getMessage()))
            for record in self.caplog.records
            if not any(words in record.getMessage() for words in _FOR_OPERATORS)
        ]
        body = nameless(response.content.decode())
        headers = sorted(response.headers.items())
        self.seen.append((response.status_code, headers, body, logged))
        return int(response.status_code)

    def spend(self, kind: type[Ask]) -> int:
        """Ask for unknown names until they are refused; return how many were not."""
        for number in range(2 * BUDGET):
            if self.ask(kind.of(f"made-up-{number}")) == 429:
                return number
        raise AssertionError("there is no budget")

    def cache(self, user: LookupUser | None = None, **fields: Any) -> None:
        """Have the cache hold what another looked up."""
        user = user or LookupUser(str(self.owner.pk))
        try:
            self.resolver.resolve(asks(user, fields.pop("instance_id", None), **fields))
        except InstanceLookupError:
            return

    @property
    def answers(self) -> list[int]:
        return [status for status, *_ in self.seen]


class Ask:
    """How the stranger names something."""

    KNOWN: Asked
    UNKNOWN: Asked

    @staticmethod
    def of(name: str) -> Asked:
        raise NotImplementedError


class ByInstance(Ask):
    KNOWN, UNKNOWN = Asked(TENANT), Asked(NOBODY)

    @staticmethod
    def of(name: str) -> Asked:
        return Asked(name)


class ByProject(Ask):
    KNOWN, UNKNOWN = Asked(project=SHOP), Asked(project=NO_SHOP)

    @staticmethod
    def of(name: str) -> Asked:
        return Asked(project=name)


class ByUrl(Ask):
    KNOWN, UNKNOWN = Asked(project=SHOP, in_url=True), Asked(project=NO_SHOP, in_url=True)

    @staticmethod
    def of(name: str) -> Asked:
        return Asked(project=name, in_url=True)


class ByRightPair(ByInstance):
    KNOWN, UNKNOWN = Asked(TENANT, SHOP), Asked(NOBODY, SHOP)


class ByWrongPair(ByInstance):
    KNOWN, UNKNOWN = Asked(TENANT, NO_SHOP), Asked(NOBODY, NO_SHOP)


class BesideOwn(Ask):
    """An instance of the stranger's own, with a project that is not of it."""

    KNOWN, UNKNOWN = Asked(OWN, SHOP), Asked(OWN, NO_SHOP)

    @staticmethod
    def of(name: str) -> Asked:
        return Asked(OWN, name)


def nameless(text: str) -> str:
    """Blank out what differs each time: names, a form's tokens, where the service listens."""
    text = re.sub("[A-Za-z0-9]{64}", "token", text)
    text = re.sub("127.0.0.1:[0-9]+", "host", text)
    for name in _NAMES:
        text = text.replace(name, "?" * len(name))
    return text


# -- what the cache and the service know of the tenant --------------------------------------------


def uncached(world: World) -> None:
    """The instance was never asked for."""


def fresh(world: World) -> None:
    world.cache(project_id=SHOP)


def near(world: World) -> None:
    """Have the entry in the near cache as well."""
    for _ in range(3):
        fresh(world)
    assert at_hand(world.resolver, TENANT) is not None
    assert world.resolver.projects.near.get(SHOP) is not None


def expired(world: World) -> None:
    fresh(world)
    world.resolver.cache.expire(TENANT)
    world.resolver.projects.expire(SHOP)


def stale(world: World) -> None:
    """Make the entry too old to be served without asking."""
    expired(world)
    found = world.resolver.cache.get(TENANT, allow_stale=True)
    assert found is not None
    world.resolver.cache.set(TENANT, found.config, ttl=0.001)
    wait_until(lambda: not world.resolver.cache.has(TENANT))


def only_project(world: World) -> None:
    fresh(world)
    world.resolver.invalidate_cache(TENANT)


def only_instance(world: World) -> None:
    world.cache(instance_id=TENANT)


def negative(world: World) -> None:
    """Another user was told that the instance is gone."""
    world.service.instances.pop(TENANT)
    world.service.projects.pop(SHOP)
    world.cache(instance_id=TENANT)
    world.cache(project_id=SHOP)


def deleted(world: World) -> None:
    """The instance is gone, and the cache does not know it."""
    fresh(world)
    world.service.instances.pop(TENANT)
    world.service.projects.pop(SHOP)


def dangling(world: World) -> None:
    """A project of an instance that is gone."""
    world.service.instances.pop(TENANT)
    world.cache(project_id=SHOP)


def refused(world: World) -> None:
    """The service itself says no to this user."""
    world.service.refuse(str(world.stranger.pk), TENANT)


def refused_fresh(world: World) -> None:
    fresh(world)
    refused(world)


def everything_gone(world: World) -> None:
    """The service says of all tenants that they are gone, so their copies are kept."""
    others = [f"other-{number}" for number in range(BELIEVED)]
    world.service.instances.update({name: owned_by(world.owner) for name in others})
    for name in others:
        world.cache(instance_id=name)
    fresh(world)
    world.service.instances.clear()
    world.service.projects.clear()
    for name in others:
        world.resolver.cache.expire(name)
        world.cache(instance_id=name)


def blocked(world: World) -> None:
    """The site has blocked an instance that the cache holds."""
    fresh(world)
    world.resolver.block_instance(TENANT, 86_400)


def blocked_own(world: World) -> None:
    """The instance that is blocked is the stranger's own."""
    world.service.instances[TENANT] = owned_by(world.stranger)
    world.cache(LookupUser(str(world.stranger.pk)), project_id=SHOP)
    world.resolver.block_instance(TENANT, 86_400)


State = Callable[[World], None]
STATES: tuple[State, ...] = (
    *(uncached, fresh, near, expired, stale, only_project, only_instance),
    *(negative, deleted, dangling, refused, refused_fresh, everything_gone),
    blocked_own,
)


CASES = (
    *product((ByInstance, ByProject, BesideOwn), STATES),
    *product((ByUrl, ByRightPair, ByWrongPair), (uncached, fresh, stale)),
    (ByInstance, blocked),
)
"""What is named how, in which state: in those of the other lines nothing else is decided."""


# -- what the stranger tries -----------------------------------------------------------------------


def ask_first(world: World, asked: Asked, ask: type[Ask]) -> None:
    """Ask for the id first, and see what it costs and what an outage shows afterwards."""
    for _ in range(2):
        world.ask(asked)
    world.spend(ask)
    world.ask(asked)
    world.clock.now += 60
    world.ask(asked)
    world.service.fail(500)
    for _ in range(3):  # told again for a while, then asked for
        world.ask(asked)
        world.clock.now += 20


def spend_first(world: World, asked: Asked, ask: type[Ask]) -> None:
    """Ask for the id when the budget is spent, and again while it is refilled."""
    world.spend(ask)
    world.ask(asked)
    world.clock.now += 60 / BUDGET
    for _ in range(2 * BUDGET):
        world.ask(asked)
    world.spend(ask)


def fail_first(world: World, asked: Asked, ask: type[Ask]) -> None:
    """Ask while the service is down, until the breaker opens, and when it is back."""
    world.service.fail(503, retry_after=7)
    world.ask(asked)
    world.service.fail(500)
    for _ in range(7):
        world.clock.now += 3
        world.ask(asked)
    world.service.recover()
    world.clock.now += 60
    for _ in range(2):
        world.ask(asked)


Plot = Callable[[World, Asked, "type[Ask]"], None]
PLOTS: tuple[Plot, ...] = (ask_first, spend_first, fail_first)


def name_of(value: Any) -> str:
    """Return what a state, a plot or a way to ask is called, for the names of tests."""
    return str(value.__name__)


@dataclass
class Stage:
    """Makes worlds, one after the other."""

    caplog: pytest.LogCaptureFixture
    service: FakeConfigService
    owner: User
    stranger: User
    redis_url: str | None = None
    """Where the cache is Redis; else it is locmem. Both have a near cache."""
    name: str = ""
    """Tells stages from others that have other settings of Django's."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the worlds, beside those that all have."""

    @contextmanager
    def world(
        self, view: str, *, is_async: bool = False, logs_in: bool = True, **sent: str
    ) -> Iterator[World]:
        """Make a world with a cache of its own, in which the stranger has one instance."""
        kind = "locmem" if self.redis_url is None else "django-redis"
        ours = {
            **self.service.settings,
            "CACHE_ALIAS": ALIAS,
            "CONCEAL_DENIED": True,
            "MISS_BUDGET": BUDGET,
            "NEAR_CACHE_SIZE": 100,
            **self.options,
        }
        # In this order, and none by the fixture `settings`: settings that are restored in another
        # order stay as they are, one below the other, and each look at one goes through all.
        with (
            near_caches(**{ALIAS: cache_config(kind, redis_url=self.redis_url)}),
            override_settings(INSTANCE_LOOKUP=ours),
        ):
            self._populate()
            caller = Caller(is_async=is_async)
            if logs_in:
                caller.login(self.stranger)
            yield World(
                self.service, self.owner, self.stranger, caller, view, self.caplog, sent=sent
            )
            disconnect(get_resolver().backend)

    def _populate(self) -> None:
        self.service.recover()
        self.service._refused.clear()
        own = owned_by(self.stranger, features={"public": True})
        self.service.instances = {TENANT: owned_by(self.owner), OWN: own}
        self.service.projects = {SHOP: TENANT, OWN_SHOP: OWN}

    def shown(
        self, state: State, plot: Plot, ask: type[Ask], asked: Asked, view: str, **how: Any
    ) -> list[Any]:
        """Return all that the stranger sees in a world of its own."""
        with self.world(view, **how) as world:
            assert world.ask(Asked(OWN)) == 200, world.seen[-1]
            state(world)
            plot(world, asked, ask)
            assert world.ask(Asked(OWN)) == 200  # their own instance is always served
            return world.seen

    def unknown(self, plot: Plot, ask: type[Ask], view: str, **how: Any) -> list[Any]:
        """Return what the stranger sees of an id that does not exist and was never asked for."""
        key = (plot, ask, view, self.redis_url is None, self.name, *sorted(how.items()))
        if self.options or key not in _unknown:
            _unknown[key] = self.shown(uncached, plot, ask, ask.UNKNOWN, view, **how)
        return _unknown[key]

    def both(
        self, state: State, plot: Plot, ask: type[Ask], view: str, **how: Any
    ) -> tuple[list[Any], list[Any]]:
        """Return what a stranger sees of another's instance, and of one that does not exist."""
        known = self.shown(state, plot, ask, ask.KNOWN, view, **how)
        return known, self.unknown(plot, ask, view, **how)


_unknown: dict[tuple[Any, ...], list[Any]] = {}
