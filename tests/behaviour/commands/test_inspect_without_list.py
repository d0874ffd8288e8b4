"""``inspect_instance_cache`` without ids, where the Config Service does not list its instances."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import CacheStats, InstanceNotFound, get_resolver
from instance_lookup.cache.redis_client import client_of
from tests.behaviour.commands.support import (
    BACKENDS_WITHOUT_LIST,
    NO_LIST,
    SECRET,
    TOKEN,
    json_answer,
    run,
    store,
)
from tests.support.caches import use_cache
from tests.support.near import near_caches, near_config
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService
    from tests.support.redis_server import RedisServer

REDIS = ["redis", "django-redis"]
OTHERS = ["locmem", "filebased", "db"]
OUTAGES = [
    Answer(500),
    Answer(503, headers={"Retry-After": "30"}),
    Answer(401),
    Answer(403),
    Answer(410),
    Answer(200, b"<html>a login page</html>", {"Content-Type": "text/html"}),
    Answer(302, headers={"Location": "/login"}),
]


def inspect(*args: str, **options: Any) -> Any:
    return run("inspect_instance_cache", *args, **options)


def states(done: Any) -> dict[str, str]:
    return {one["instance_id"]: one["state"] for one in done.json["instances"]}


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_with_the_service_away(cached: ConfigService) -> None:
    """When the service cannot be reached the cached instances are shown, marked "cache"."""
    store("globex")
    store("acme", age=400)
    cached.server.stop()
    done = inspect(format="json")
    assert done.code == 4
    assert states(done) == {"acme": "stale", "globex": "fresh"}
    assert list(states(done)) == ["acme", "globex"]
    assert {one["id_from"] for one in done.json["instances"]} == {"cache"}
    assert done.json["list_error"]["reason"] == "unreachable"
    assert done.json["failed"] == []
    assert "What the cache 'instances' holds is shown." in done.err


@pytest.mark.parametrize("cache_kind", REDIS)
@pytest.mark.parametrize("answer", OUTAGES)
def test_inspect_with_the_service_failing(cached: ConfigService, answer: Answer) -> None:
    """Any failed answer for the list is reported, and what is cached is still shown."""
    store("acme")
    cached.scripts = {"/instances": answer}
    done = inspect(format="json")
    assert done.code == 4
    assert states(done) == {"acme": "fresh"}
    assert done.json["list_error"] is not None


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_in_text(cached: ConfigService) -> None:
    """The table is on standard output, and why it is from the cache on the other."""
    store("acme", age=400)
    cached.scripts = {"/instances": Answer(503)}
    done = inspect()
    (line,) = done.out.splitlines()[1:]
    assert line.split()[:2] == ["acme", "stale"]
    assert line.endswith("cache")
    assert done.err == (
        "The Config Service did not list its instances (CONFIG_SERVICE_UNAVAILABLE, status)."
        " What the cache 'instances' holds is shown."
    )


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_stale_sorts_by_purged_in(cached: ConfigService) -> None:
    """The first question of an outage: which copies are lost next."""
    for name, age in (("acme", 400), ("globex", 3000), ("hooli", 5), ("initech", 900)):
        store(name, age=age)
    cached.server.stop()
    done = inspect(stale=True, format="json")
    assert done.code == 4
    assert list(states(done)) == ["globex", "initech", "acme"]


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_with_an_empty_cache(cached: ConfigService) -> None:
    """When the service is down and nothing is cached the command says so."""
    cached.server.stop()
    done = inspect()
    assert (done.code, done.out) == (4, "")
    assert done.err.endswith("The cache 'instances' holds none.")


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_shows_what_lookups_would_make_of_it(cached: ConfigService) -> None:
    """Invalidated, damaged and unknown entries are shown as if their ids had been given."""
    for name in ("acme", "globex", "initech"):
        store(name)
    with suppress(InstanceNotFound):
        get_resolver().refresh("unknown")
    cache = caches["instances"]
    cache.set("instance_generation:globex", "another")
    cache.set("instance_config:initech", "no entry")
    cached.server.stop()
    expected = {
        "acme": "fresh", "globex": "absent", "initech": "unreadable", "unknown": "negative"
    }  # fmt: skip
    assert states(inspect(format="json")) == expected


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_after_everything_was_invalidated(cached: ConfigService) -> None:
    """An entry that is stored but no longer served is shown as absent."""
    store("acme")
    get_resolver().invalidate_all_caches()
    cached.server.stop()
    assert states(inspect(format="json")) == {"acme": "absent"}


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_leaves_out_what_is_not_ours(cached: ConfigService) -> None:
    """Other apps, our own projects and generations, and names that are no ids."""
    store("acme")
    cache = caches["instances"]
    get_resolver().projects.read("web")
    for key in ("session:1", "instance_project:web", "instance_config:no/id", "instance_config:"):
        cache.set(key, "value")
    client = client_of(cache)
    for raw in ("instance_config:raw", "other:1:instance_config:foreign"):
        client.set(raw, "value")
    cached.server.stop()
    done = inspect(format="json")
    assert states(done) == {"acme": "fresh"}
    assert done.json["failed"] == []


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_changes_nothing(cached: ConfigService, redis_server: RedisServer) -> None:
    """Every key, value and lifetime stays, and nothing is counted."""
    redis = import_module("redis")
    store("acme", age=400)
    get_resolver().cache.reset_stats()
    cached.server.stop()
    with redis.from_url(redis_server.url()) as client:
        before = {key: (client.dump(key), client.expiretime(key)) for key in client.scan_iter()}
        inspect()
        after = {key: (client.dump(key), client.expiretime(key)) for key in client.scan_iter()}
    assert after == before
    assert get_resolver().get_cache_stats() == CacheStats()


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_list_that_breaks_off_is_completed(cached: ConfigService) -> None:
    """A list that breaks off is completed with what the cache holds, each instance once."""
    store("acme")
    store("initech")
    cached.scripts = {"/instances?cursor=2": Answer(500)}
    done = inspect(format="json")
    assert done.code == 4
    shown = [(one["instance_id"], one["id_from"]) for one in done.json["instances"]]
    assert shown == [("acme", "list"), ("globex", "list"), ("initech", "cache")]


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_does_not_scan_where_there_is_a_list(cached: ConfigService) -> None:
    """Where the service has a list, cached instances that are not in it are not shown."""
    store("deleted")
    done = inspect(format="json")
    assert done.code == 0
    assert list(states(done)) == cached.ids


@pytest.mark.parametrize("cache_kind", REDIS)
@pytest.mark.parametrize("answer", NO_LIST)
def test_inspect_of_a_service_without_a_list(cached: ConfigService, answer: Answer) -> None:
    """A service without a list is no failure: what the cache holds is the whole answer."""
    store("acme")
    cached.scripts = {"/instances": answer}
    done = inspect(format="json")
    assert done.code == 0
    assert states(done) == {"acme": "fresh"}
    assert done.json["instances"][0]["id_from"] == "cache"
    assert done.json["list_error"] is None
    assert done.err == (
        f"The Config Service has no list of instances ({answer.status})."
        " What the cache 'instances' holds is shown.\n"
    )


@pytest.mark.parametrize("cache_kind", REDIS)
@pytest.mark.parametrize("backend", BACKENDS_WITHOUT_LIST)
def test_inspect_of_a_backend_without_a_list(
    cache_alias: str, settings: Settings, backend: type
) -> None:
    """A backend of the project's own is no exception."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": backend, "CACHE_ALIAS": cache_alias}
    get_resolver().refresh("acme")
    done = inspect(format="json")
    assert (done.code, states(done)) == (0, {"acme": "fresh"})


@pytest.mark.parametrize("cache_kind", OTHERS)
@pytest.mark.parametrize("answer", [Answer(503), Answer(404)])
def test_inspect_of_a_cache_that_cannot_tell(cached: ConfigService, answer: Answer) -> None:
    """Other caches than Redis and Valkey cannot name what they hold: the command says so."""
    store("acme")
    cached.scripts = {"/instances": answer}
    done = inspect(format="json")
    assert done.code == 4
    assert done.json["instances"] == []
    assert done.json["list_error"] is not None
    kind = type(caches["instances"]).__name__
    assert done.err.endswith(
        f"The cache 'instances' ({kind}) cannot tell what it holds: name the ids."
    )
    assert inspect("acme").code == 0


@pytest.mark.parametrize("cache_kind", REDIS)
@pytest.mark.parametrize("answer", [Answer(503), Answer(404)])
def test_inspect_with_the_cache_away_as_well(
    settings: Settings,
    service: ConfigService,
    own_redis_server: RedisServer,
    cache_kind: str,
    answer: Answer,
) -> None:
    """Two outages are two sentences, without a traceback; a service without a list is none."""
    service.scripts = {"/instances": answer}
    with use_cache(cache_kind, redis_url=own_redis_server.url()) as alias:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        own_redis_server.kill()
        done = inspect()
        as_json = inspect(format="json")
    said = "all instances: CACHE_ERROR: The cache 'instances' failed to list all instances: "
    assert (done.code, done.out) == (4 if answer.status == 503 else 3, "")
    assert said in done.err
    assert "is shown" not in done.err
    assert "Traceback" not in done.err
    assert as_json.json["failed"][0]["error"] == "CACHE_ERROR"
    assert as_json.json["failed"][0]["instance_id"] is None


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_outage_shows_no_secret(cached: ConfigService) -> None:
    """Instances found in the cache are shown without secrets, like those that were named."""
    store("acme")
    cached.server.stop()
    for output in ("text", "json"):
        done = inspect(format=output, show_config=True, verbosity=2)
        assert "ideogram" in done.out
        assert SECRET not in done.out + done.err
        assert TOKEN not in done.out + done.err


def test_inspect_outage_on_valkey(
    settings: Settings, service: ConfigService, redis_server: RedisServer
) -> None:
    """What the cache holds is found with django-valkey's client as well."""
    with near_caches(instances=near_config("django-valkey", redis_server.url())):
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": "instances"}
        store("acme")
        service.server.stop()
        done = inspect(format="json")
    assert states(done) == {"acme": "fresh"}


@pytest.mark.parametrize("cache_kind", REDIS)
@pytest.mark.parametrize(
    "options",
    [{}, {"COMPRESS_ABOVE": 10}, {"ENCRYPTION_KEYS": ["x" * 43 + "="]}],
    ids=["plain", "compressed", "encrypted"],
)
def test_inspect_outage_names_ids_that_no_key_can_hold(
    settings: Settings, cached: ConfigService, options: dict[str, Any]
) -> None:
    """An id whose key is a digest is read from its entry; other names are shown as they are."""
    settings.INSTANCE_LOOKUP = {
        **settings.INSTANCE_LOOKUP, **options, "INSTANCE_ID_PATTERN": r"[\w ]{1,80}"
    }  # fmt: skip
    like_a_digest = "0123456789abcdef" * 4
    store("Küche 7")
    store(like_a_digest)
    caches["instances"].set(f"instance_config:{'f' * 64}", "no entry")
    cached.server.stop()
    assert states(inspect(format="json")) == {
        like_a_digest: "fresh", "Küche 7": "fresh", "f" * 64: "absent"
    }  # fmt: skip


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_malformed_ids_of_the_list_fail_alone(cached: ConfigService) -> None:
    """The service's list is checked, what the cache holds beside it is not a failure."""
    store("globex")
    cached.scripts = {
        "/instances": json_answer({"instances": ["no/id", "acme"], "next": "2"}),
        "/instances?cursor=2": Answer(503),
    }
    done = inspect(format="json")
    assert done.code == 4
    assert list(states(done)) == ["acme", "globex"]
    assert [one["instance_id"] for one in done.json["failed"]] == ["no/id"]
