"""A cache in the database, and callers whose requests are transactions."""

from __future__ import annotations

from threading import current_thread
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction

from instance_lookup import InstanceResolver, Source
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.cache.transactions import OutsideTransaction, outside_transaction
from tests.support.caches import use_cache
from tests.support.doors import Caller, owned_by, serve
from tests.support.lookups import Service, asks
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def alias(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cache in the database, where a transaction locks nothing before it writes."""
    with use_cache("db") as alias:
        connection.ensure_connection()
        monkeypatch.setattr(connection, "transaction_mode", "DEFERRED")
        yield alias


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(service: Service, alias: str) -> InstanceResolver:
    return InstanceResolver(
        config_service_backend=service, config_service_timeout=2, cache_alias=alias
    )


def work(*args: int, **kwargs: int) -> tuple[object, ...]:
    """Return the thread it runs in, and what it is given."""
    return current_thread().name, args, kwargs


def test_lookup_in_a_transaction(resolver: InstanceResolver, service: Service) -> None:
    """A lookup in a transaction is answered at once and stored for the next one."""
    with within(0.5), transaction.atomic():
        sources = [resolver.resolve(asks()).source for _ in range(2)]
    assert sources == [Source.SERVICE, Source.CACHE]
    assert len(service.calls) == 1


def test_lookup_in_a_transaction_that_is_rolled_back(
    resolver: InstanceResolver, service: Service
) -> None:
    """A cached answer of the Config Service stays when the caller's transaction is rolled back."""
    with transaction.atomic():
        resolver.resolve(asks())
        transaction.set_rollback(True)
    assert resolver.resolve(asks()).source is Source.CACHE
    assert len(service.calls) == 1


def test_lookup_in_a_transaction_that_has_read(resolver: InstanceResolver) -> None:
    """A lookup in a transaction that has read already is answered and stored as well."""
    with within(0.5), transaction.atomic():
        assert not User.objects.exists()
        sources = [resolver.resolve(asks()).source for _ in range(2)]
    assert sources == [Source.SERVICE, Source.CACHE]


def test_lookup_in_a_transaction_keeps_its_savepoints(resolver: InstanceResolver) -> None:
    """A lookup does nothing on the caller's connection, so no savepoint of the caller is lost."""
    with transaction.atomic():
        with transaction.atomic():
            resolver.resolve(asks())
        User.objects.create_user("olga")
    assert User.objects.count() == 1


@pytest.mark.extras
@pytest.mark.parametrize("verb", ["invalidate", "expire", "invalidate_all"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_change_with_keys_in_a_transaction(
    service: Service, alias: str, verb: str, *, is_kept: bool
) -> None:
    """Until the commit lookups find what was there before; a rollback leaves that."""
    resolver = InstanceResolver(
        config_service_backend=service,
        config_service_timeout=2,
        cache_alias=alias,
        encryption_keys=[new_encryption_key()],
    )
    resolver.resolve(asks())
    with within(0.5), transaction.atomic():
        getattr(resolver.cache, verb)(*([] if verb == "invalidate_all" else ["acme"]))
        assert resolver.resolve(asks()).source is Source.CACHE
        transaction.set_rollback(not is_kept)
    expected = Source.SERVICE if is_kept else Source.CACHE
    assert resolver.resolve(asks()).source is expected
    assert resolver.get_cache_stats().rejected == (1 if is_kept and verb == "invalidate_all" else 0)


@pytest.mark.extras
def test_change_with_keys_outside_a_transaction(service: Service, alias: str) -> None:
    """It counts at once."""
    keys = [new_encryption_key()]
    options: Any = {"config_service_backend": service, "cache_alias": alias}
    resolver = InstanceResolver(**options, encryption_keys=keys)
    resolver.resolve(asks())
    resolver.cache.invalidate("acme")
    assert resolver.resolve(asks()).source is Source.SERVICE


def test_view_under_atomic_requests(
    alias: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting that many sites have: every view is in a transaction."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    service = serve(settings, CACHE_ALIAS=alias, CONFIG_SERVICE_TIMEOUT=2)
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)
    caller = Caller(is_async=False).login(olga)
    with within(0.5):
        answers = [caller("plain", "acme").content for _ in range(2)]
    assert answers == [b"acme"] * 2
    assert len(service.calls) == 1


def outside(alias: str) -> OutsideTransaction:
    found = outside_transaction(alias)
    assert found is not None
    return found


def test_call_outside_a_transaction_is_a_plain_call(alias: str) -> None:
    """Outside of a transaction the call is made in the same thread."""
    assert outside(alias).call(work, 1, two=2) == (
        current_thread().name,
        (1,),
        {"two": 2},
    )


def test_call_in_a_transaction_leaves_it(alias: str) -> None:
    """A call in a transaction is made in another thread, with another connection."""
    with transaction.atomic():
        assert outside(alias).call(work, 1, two=2) == (
            "instance-lookup-read",
            (1,),
            {"two": 2},
        )


def test_cache_that_is_in_no_database() -> None:
    """A cache that is in no database needs no other thread."""
    assert outside_transaction("default") is None


def test_call_in_a_transaction_raises_what_it_raises(alias: str) -> None:
    """An error of a call in a transaction reaches the caller."""
    with transaction.atomic(), pytest.raises(ZeroDivisionError):
        outside(alias).call(divmod, 1, 0)
