"""A cache that stores only some values, with a client that does not report the others.

As memcached does and its clients do, here on a cache that a test can interrupt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import InstanceResolver, Source
from tests.outages.outages import Later, lines
from tests.support.lookups import HookedCache, Service, acme, asks, hooked_caches, hooks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def resolver() -> Iterator[InstanceResolver]:
    service = Service()
    for name, size in (("small", 0), ("other", 0), ("big", 300_000)):
        service.instances[name] = acme("x" * size, instance_id=name)
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(config_service_backend=service)


def source(resolver: InstanceResolver, asked: str) -> Source:
    return resolver.resolve(asks(instance_id=asked)).source


def refuse_big(verb: str, key: str) -> None:
    if (verb, key) == ("set", "instance_config:big"):
        raise ValueError("object too large for cache")


def test_large_value_that_is_refused_is_one_line(
    resolver: InstanceResolver, refuses_at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused large value is logged once; smaller ones that are stored do not end it."""
    later = Later(resolver)
    with hooks(refuse_big):
        for asked in ("big", "small", "big", "other", "big"):
            assert source(resolver, asked) is Source.SERVICE
            later.passed += 60
    [line] = lines(caplog)
    assert "failed to store 'big'" in line
    assert "takes values of this size" in line
    assert source(resolver, "big") is Source.SERVICE
    assert "works again" in lines(caplog)[-1]


def test_small_value_that_is_refused_is_told_though_a_large_one_was(
    resolver: InstanceResolver, refuses_at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A large tenant that is refused does not hide that all writes fail, or work again."""
    later = Later(resolver)

    def refuse_all(verb: str, key: str) -> None:
        if verb == "set":
            raise ValueError("read only")

    for hook in (refuse_big, refuse_all, refuse_big):
        with hooks(hook):
            for asked in ("big", "small"):
                assert source(resolver, asked) is Source.SERVICE
                later.passed += 60
        resolver.invalidate_cache("small")
    large, small, back = lines(caplog)
    assert ("'big'" in large, "'small'" in small) == (True, True)
    assert back == "The cache 'default', writing, works again."


def test_slow_write_after_a_quiet_read_is_an_outage(
    resolver: InstanceResolver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The cache is left alone, though its client said nothing when the read failed."""
    monkeypatch.setattr("instance_lookup.cache.health._SLOW", 0.0)
    asked: list[str] = []

    def fail(verb: str, key: str) -> object:
        asked.append(verb)
        if verb != "get":
            raise OSError("timed out")
        return HookedCache.SKIP

    with hooks(fail):
        assert source(resolver, "small") is Source.SERVICE
        assert asked.count("add") == 1
        before = len(asked)
        assert source(resolver, "other") is Source.SERVICE
        assert len(asked) == before
    [line] = lines(caplog)
    assert "not asked for" in line
