"""Any bytes in the cache: the lookup goes on, and what is sealed is believed as written only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography.fernet import Fernet
from django.core.cache import caches
from hypothesis import example, given
from hypothesis import strategies as st

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from instance_lookup.backends.memory import DictConfigService
from tests.properties.profile import tried
from tests.support.lookups import DOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.lookups import Twin
    from tests.support.redis_server import RedisServer

OLGA = LookupUser("olga")
ACME: dict[str, Any] = {"api_keys": {"render": "k"}, "metadata": {"owner": "olga"}}
GLOBEX: dict[str, Any] = {"api_keys": {"render": "other"}, "metadata": {"owner": "sam"}}
ENTRIES = ("instance_config:acme", "instance_config:globex", "instance_project:shop")
KEYS = (
    *("instance_config:acme", "instance_generation:acme", "instance_generation"),
    *("instance_expiry:acme", "instance_project:shop", "instance_project_generation:shop"),
)
OPEN: dict[str, Any] = {}
SEALED: dict[str, Any] = {"encryption_keys": [Fernet.generate_key().decode()]}
OPTIONS = [
    pytest.param(OPEN, id="open"),
    pytest.param({"compress_above": 10}, id="compressed"),
    pytest.param(SEALED, id="sealed"),
    pytest.param({**SEALED, "compress_above": 10}, id="sealed-compressed"),
]
STORES = pytest.mark.parametrize("cache_kind", ["locmem", "redis", "django-redis"])


class Act(NamedTuple):
    """What someone who can write to the cache does to one key."""

    key: str
    write: Callable[[dict[str, bytes]], bytes]
    """Of what is stored under each key, what to store under this one."""
    text: str


def damaged(key: str, at: float, noise: bytes, cut: int) -> Act:
    def write(stored: dict[str, bytes]) -> bytes:
        value = stored[key]
        place = int(len(value) * at)
        return value[:place] + noise + value[place + cut :]

    return Act(key, write, f"at {at}: {noise!r} for {cut} bytes")


acts: st.SearchStrategy[Act] = (
    st.builds(
        lambda key, value: Act(key, lambda _: value, repr(value)),
        st.sampled_from(KEYS),
        st.binary(max_size=40) | st.sampled_from([b"null", b"{}", b"z:", b"gAAAAA", b"\x80\x04N."]),
    )
    | st.builds(
        lambda key, other: Act(key, lambda stored: stored[other], f"copied from {other}"),
        st.sampled_from(KEYS),
        st.sampled_from([*KEYS, *ENTRIES]),
    )
    | st.builds(
        damaged,
        st.sampled_from(KEYS),
        st.floats(0, 1, exclude_max=True),
        st.binary(max_size=3),
        st.integers(0, 60),
    )
)


class Vault:
    """What lies in the cache, read and written past everything of ours."""

    def __init__(self, alias: str, redis: Any) -> None:
        self._cache, self._redis = caches[alias], redis

    def read(self) -> dict[str, bytes]:
        return {key: self._get(key) for key in {*KEYS, *ENTRIES}}

    def write(self, key: str, value: bytes) -> None:
        if self._redis:
            self._redis.set(self._cache.make_key(key), value)
        else:  # as text, which is what we keep there, where it is some
            self._cache.set(key, value.decode() if value.isascii() else value)

    def _get(self, key: str) -> bytes:
        if self._redis:
            return bytes(self._redis.get(self._cache.make_key(key)) or b"")
        value = self._cache.get(key, b"")
        return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture
def vault(request: pytest.FixtureRequest, cache_alias: str, cache_kind: str) -> Iterator[Vault]:
    if cache_kind == "locmem":
        yield Vault(cache_alias, None)
        return
    import redis

    server: RedisServer = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url()) as client:
        yield Vault(cache_alias, client)


def asks(**named: Any) -> LookupContext:
    return LookupContext(OLGA, **named)


@STORES
@pytest.mark.parametrize("options", OPTIONS)
@tried(15)
@given(act=acts, by_project=st.booleans(), is_down=st.booleans())
@example(
    act=Act(KEYS[0], lambda stored: stored[ENTRIES[1]], "globex"), by_project=False, is_down=True
)
def test_any_bytes(
    *,
    act: Act,
    by_project: bool,
    is_down: bool,
    vault: Vault,
    cache_alias: str,
    options: dict[str, Any],
    call: Twin,
) -> None:
    """Whatever is written to a key, no lookup crashes, and no other tenant's instance is served.

    With ``ENCRYPTION_KEYS`` the very document of the service is, byte by byte.
    """
    caches[cache_alias].clear()
    service = DictConfigService({"acme": ACME, "globex": GLOBEX}, {"shop": "acme"})
    resolver = InstanceResolver(
        config_service_backend=service, cache_alias=cache_alias, near_cache_size=0, **options
    )
    context = asks(project_id="shop") if by_project else asks(instance_id="acme")
    call(resolver, "resolve", asks(project_id="shop"))
    resolver.resolve(LookupContext(LookupUser.service(), instance_id="globex"))
    vault.write(act.key, act.write(vault.read()))
    service.failure = DOWN if is_down else None
    try:
        config = call(resolver, "resolve", context).config
    except ConfigServiceUnavailable:
        assert is_down
    except (InstanceNotFound, AccessDenied):  # who can write can forge, where there is no key
        assert not options.get("encryption_keys")
    else:
        assert (config.instance_id, config.metadata.owner) == ("acme", "olga")
        if options.get("encryption_keys"):
            assert dict(config.api_keys) == ACME["api_keys"]
