from __future__ import annotations

import re
from contextlib import suppress
from importlib import import_module
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.cache import caches
from django.core.management import call_command

from instance_lookup import CacheStats, InstanceNotFound, get_resolver
from instance_lookup.cache.keyvalue import key_values
from tests.behaviour.commands.support import SECRET, TOKEN, config, json_answer, run, store
from tests.support.caches import use_cache
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService
    from tests.support.redis_server import RedisServer

KINDS = ["locmem", "filebased", "db", "redis", "django-redis"]
REDIS = ["redis", "django-redis"]


def inspect(*args: str, **options: Any) -> Any:
    return run("inspect_instance_cache", *args, **options)


def inspect_one(instance_id: str, **options: Any) -> Any:
    """Return what the command tells about one instance."""
    done = inspect(instance_id, format="json", **options)
    assert done.code == 0
    return done.json["instances"][0]


def alias() -> str:
    return get_resolver().settings.cache_alias


def stored(client: Any) -> dict[bytes, tuple[bytes, int]]:
    """All values of the cache in a Redis, with the moments at which they end.

    Not those that other tests left there: they may end while one looks.
    """
    ours = client.scan_iter(match=f"{caches[alias()].key_prefix}:*", count=1_000)
    return {key: (client.dump(key), client.expiretime(key)) for key in ours}


@pytest.mark.parametrize("cache_kind", KINDS)
def test_inspect_fresh_entry(cached: ConfigService) -> None:
    """A fresh entry is shown with age, time left, size, generation and owner, for each cache."""
    get_resolver().refresh("acme")
    found = inspect_one("acme")
    entry = get_resolver().cache.get("acme")
    assert entry is not None
    assert found["state"] == "fresh"
    assert 0 <= found["age"] < 60
    assert found["age"] + found["ttl_left"] == pytest.approx(300)
    assert found["age"] + found["purged_in"] == pytest.approx(3600)
    assert found["size"] == len(key_values[alias()].get("instance_config:acme"))
    assert found["generation"] == entry.generation
    assert found["owner"] == "u1"
    assert found["id_from"] == "argument"


@pytest.mark.parametrize("cache_kind", KINDS)
def test_inspect_absent_entry_mints_nothing(cached: ConfigService) -> None:
    """Looking at an id that is not cached writes no generation."""
    assert inspect_one("acme")["state"] == "absent"
    keys = ["instance_generation", "instance_generation:acme", "instance_config:acme"]
    assert caches[alias()].get_many(keys) == {}


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_changes_nothing(cached: ConfigService, redis_server: RedisServer) -> None:
    """Inspecting leaves each key, value and lifetime as it is, and counts nothing."""
    redis = import_module("redis")  # by name: the other tests here need no extra
    client = redis.from_url(redis_server.url())
    resolver = get_resolver()
    resolver.refresh("acme")
    with suppress(InstanceNotFound):
        resolver.refresh("unknown")
    caches[alias()].set("instance_config:globex", {"foreign": 1})
    before = stored(client)
    assert before
    inspect("acme", "unknown", "globex", "initech")
    assert stored(client) == before
    client.close()
    assert resolver.get_cache_stats() == CacheStats()


def test_inspect_stale_entry(service: ConfigService) -> None:
    """An expired entry is stale: nothing left of its ttl, and kept until it is purged."""
    get_resolver().refresh("acme")
    get_resolver().cache.expire("acme")
    found = inspect_one("acme")
    assert (found["state"], found["ttl_left"]) == ("stale", 0)
    assert found["purged_in"] > 0


def test_inspect_negative_entry(service: ConfigService) -> None:
    """An unknown instance that is remembered is shown as "negative"."""
    with suppress(InstanceNotFound):
        get_resolver().refresh("unknown")
    found = inspect_one("unknown", show_config=True)
    assert (found["state"], found["owner"], found["config"]) == ("negative", None, None)
    assert found["purged_in"] is None


def test_inspect_expired_negative_entry_is_absent(service: ConfigService) -> None:
    """An expired "does not exist" is shown as absent: it is never served stale."""
    with suppress(InstanceNotFound):
        get_resolver().refresh("unknown")
    get_resolver().cache.expire("unknown")
    assert inspect_one("unknown")["state"] == "absent"


def test_inspect_nothing_prints_no_heading(service: ConfigService) -> None:
    """A service without instances is no error, and no table."""
    service.ids = []
    done = inspect()
    assert (done.code, done.out) == (0, "")


def test_inspect_invalidated_copy_is_absent(service: ConfigService) -> None:
    """A copy that is stored and never served is absent, and a note says why it is there."""
    get_resolver().refresh("acme")
    caches["default"].set("instance_generation:acme", "another")
    found = inspect_one("acme")
    assert found["state"] == "absent"
    assert found["size"] > 0
    assert "(what is stored was invalidated, or is too old)" in inspect("acme").out


def test_inspect_unreadable_text(service: ConfigService) -> None:
    """Text that is no entry is shown as unreadable, with its size."""
    get_resolver().refresh("acme")
    caches["default"].set("instance_config:acme", "ünïcode")
    found = inspect_one("acme")
    assert (found["state"], found["size"]) == ("unreadable", len("ünïcode".encode()))


def test_inspect_bytes_are_counted(service: ConfigService) -> None:
    """The size of an entry that a serializer gives as bytes is shown."""
    get_resolver().refresh("acme")
    caches["default"].set("instance_config:acme", b"12345")
    assert inspect_one("acme")["size"] == 5


def test_inspect_foreign_object_is_unreadable(service: ConfigService) -> None:
    """A foreign object is reported as unreadable and without a size."""
    get_resolver().refresh("acme")
    caches["default"].set("instance_config:acme", {"api_keys": SECRET})
    found = inspect_one("acme")
    assert (found["state"], found["size"]) == ("unreadable", None)


@pytest.mark.parametrize("cache_kind", REDIS)
def test_inspect_broken_pickle_is_unreadable_and_stays(
    cached: ConfigService, redis_server: RedisServer
) -> None:
    """A value that the serializer cannot read is shown as unreadable, and not deleted."""
    redis = import_module("redis")  # by name: the other tests here need no extra
    get_resolver().refresh("acme")
    key = caches[alias()].make_key("instance_config:acme")
    with redis.from_url(redis_server.url()) as client:
        client.set(key, b"\x80\x05no pickle")
        assert inspect_one("acme")["state"] == "unreadable"
        assert client.get(key) == b"\x80\x05no pickle"


def test_inspect_masks_secrets(service: ConfigService) -> None:
    """The names of API keys are shown, but never a key or a token."""
    get_resolver().refresh("acme")
    for output in ("text", "json"):
        done = inspect("acme", show_config=True, format=output)
        assert "ideogram" in done.out
        assert "images.example/run" in done.out
        assert SECRET not in done.out + done.err
        assert TOKEN not in done.out + done.err


def test_inspect_show_config_has_every_field(service: ConfigService) -> None:
    """A masked configuration is whole but for the secrets; without the option there is none."""
    get_resolver().refresh("acme")
    shown = inspect_one("acme", show_config=True)["config"]
    assert shown["api_keys"] == {"openai": "********", "ideogram": "********"}
    assert shown["worker_urls"] == {"images": "https://********@images.example/run?********"}
    assert shown["metadata"]["owner"] == "u1"
    assert shown["features"] == {"beta": True}
    assert "config" not in inspect_one("acme")


def test_inspect_table(service: ConfigService) -> None:
    """In text each instance has one line under one heading, with readable times."""
    store("acme", age=4)
    head, first, second = inspect("acme", "globex").out.splitlines()
    assert head.split()[:4] == ["INSTANCE", "STATE", "AGE", "TTL"]
    ages = r"[45] s +4 min 5[56] s +59 min 5[56] s"
    assert re.fullmatch(rf"acme +fresh +{ages} +\d+ +u1 +ideogram, openai +argument", first)
    assert second.split() == ["globex", "absent", *"------", "argument"]


@pytest.mark.parametrize(
    ("instance_id", "owner"),
    [("acme", "u1"), ("0f8fad5b-d9cd-469f-a165-70867728950e", str(UUID(int=7))), ("x" * 40, "u1")],
)
@pytest.mark.parametrize("verbosity", [0, 1, 2])
@pytest.mark.parametrize("age", [0.0, 3599.0, 59 * 60.0])
def test_inspect_table_fits_100_columns(
    service: ConfigService, instance_id: str, owner: str, verbosity: int, age: float
) -> None:
    """The table fits 100 columns with all ages, and with ids as long as UUIDs."""
    store(instance_id, age=age, owner=owner)
    store("other", age=age, owner=owner)
    caches["default"].set("instance_config:globex", "no entry")
    out = inspect(instance_id, "other", "globex", "absent", verbosity=verbosity).out
    assert max(map(len, out.splitlines())) <= 100
    assert owner in out
    assert "ideogram, openai" in out


def test_inspect_table_shows_a_long_id_whole(service: ConfigService) -> None:
    """An operator copies it from there: it is never cut off, and has a line of its own."""
    instance_id = "x" * 64
    store(instance_id, age=60)
    lines = inspect(instance_id, "acme").out.splitlines()
    assert instance_id in lines
    assert max(map(len, lines)) <= 100


def test_inspect_generation_is_shown_at_v_2(service: ConfigService) -> None:
    """The generation has 53 letters, so the table shows it only at verbosity 2."""
    store("acme", age=0)
    generation = inspect_one("acme")["generation"]
    assert generation not in inspect("acme").out
    assert f"    generation {generation}\n" in inspect("acme", verbosity=2).out


def test_inspect_json_has_raw_seconds_and_the_generation(service: ConfigService) -> None:
    """JSON has plain seconds and the generation at each verbosity."""
    store("acme", age=4)
    found = inspect_one("acme")
    assert found["age"] == pytest.approx(4, abs=1)
    assert found["purged_in"] == pytest.approx(3596, abs=1)
    assert found["generation"]


def test_inspect_stale_sorts_by_purged_in(service: ConfigService) -> None:
    """--stale shows the copies that an outage lives on, the one that ends first at the top."""
    store("acme", age=400)
    store("globex", age=3000)
    store("initech", age=10)
    done = inspect("acme", "globex", "initech", "hooli", stale=True)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == ["globex", "acme"]


def test_inspect_stale_in_json(service: ConfigService) -> None:
    """--stale chooses and sorts JSON as it does text, and failures are still reported."""
    store("acme", age=400)
    store("globex", age=3000)
    done = inspect(stale=True, format="json")
    assert [one["instance_id"] for one in done.json["instances"]] == ["globex", "acme"]
    assert inspect("no/id", stale=True, format="json").code == 2


def test_inspect_stale_includes_the_expired(service: ConfigService) -> None:
    """--stale shows all that a lookup takes for stale, by age or because it was expired."""
    store("acme", age=5)
    get_resolver().cache.expire("acme")
    assert "acme" in inspect("acme", stale=True).out


def test_inspect_stale_says_that_there_are_none(service: ConfigService) -> None:
    """When no copy is stale the command says so and succeeds."""
    store("acme", age=5)
    done = inspect("acme", "globex", stale=True)
    assert (done.code, done.out) == (0, "")
    assert "Of 2 instances none has a stale copy." in done.err


def test_inspect_control_characters_are_escaped(service: ConfigService) -> None:
    """Control characters in an owner's name are escaped, so they cannot move the cursor."""
    odd = {**config("acme"), "metadata": {"owner": "\x1b[2Jü\nroot"}}
    service.scripts = {"/instances/acme": json_answer(odd)}
    get_resolver().refresh("acme")
    assert "\\x1b[2J\\xfc\\nroot" in inspect("acme").out


def test_inspect_show_config_escapes_control_characters(service: ConfigService) -> None:
    """--show-config escapes control characters of a configuration, also those above ASCII."""
    odd = {**config("acme"), "metadata": {"name": "\x9b2J\u202etenü"}}
    service.scripts = {"/instances/acme": json_answer(odd)}
    get_resolver().refresh("acme")
    assert '"name": "\\u009b2J\\u202eten\\u00fc"' in inspect("acme", show_config=True).out


def test_inspect_show_config_leaves_umlauts(service: ConfigService) -> None:
    """--show-config does not escape readable characters."""
    odd = {**config("acme"), "metadata": {"name": "Küche"}}
    service.scripts = {"/instances/acme": json_answer(odd)}
    get_resolver().refresh("acme")
    assert '"name": "Küche"' in inspect("acme", show_config=True).out


def test_inspect_output_of_another_encoding(service: ConfigService) -> None:
    """A terminal that does not know a character gets an escape, not a traceback."""
    odd = {**config("acme"), "metadata": {"owner": "jörg"}}
    service.scripts = {"/instances/acme": json_answer(odd)}
    get_resolver().refresh("acme")
    out = TextIOWrapper(BytesIO(), "ascii")
    call_command("inspect_instance_cache", "acme", stdout=out)
    out.seek(0)
    assert "j\\xf6rg" in out.read()


def test_inspect_without_ids_lists_all(service: ConfigService) -> None:
    """Without ids every instance of the service's list is shown, and where the id is from."""
    get_resolver().refresh("globex")
    found = inspect(format="json").json["instances"]
    assert [one["instance_id"] for one in found] == service.ids
    assert [one["state"] for one in found] == ["absent", "fresh", "absent"]
    assert {one["id_from"] for one in found} == {"list"}


def test_inspect_without_ids_and_service_leaves_with_4(service: ConfigService) -> None:
    """Without a list there are no ids to show, so the exit code is 4."""
    service.scripts = {"/instances": Answer(503)}
    done = inspect(format="json")
    assert done.code == 4
    assert done.json["instances"] == []
    assert done.json["list_error"]["reason"] == "status"
    assert "The Config Service did not list its instances" in done.err


def test_inspect_needs_no_service_for_named_ids(service: ConfigService) -> None:
    """Named ids are inspected without the service, for example during an outage."""
    get_resolver().refresh("acme")
    service.server.stop()
    assert inspect_one("acme")["state"] == "fresh"


def test_inspect_duplicates_once(service: ConfigService) -> None:
    """An id named twice is shown once."""
    assert len(inspect("acme", "acme", format="json").json["instances"]) == 1


def test_inspect_malformed_ids_fail_alone(service: ConfigService) -> None:
    """A mistyped id is a failure of its own; the others are shown."""
    done = inspect("no/id", "acme")
    assert done.code == 2
    assert "no/id: INVALID_CONTEXT: " in done.err
    assert "acme" in done.out


def test_inspect_cache_error_leaves_with_3(settings: Settings, service: ConfigService) -> None:
    """An entry that the cache cannot give is a failure with exit code 3, and not "absent"."""
    settings.CACHES = {"default": {"BACKEND": "tests.behaviour.commands.support.PartlyBrokenCache"}}
    done = inspect("broken", "acme", format="json")
    assert done.code == 3
    assert done.json["failed"][0]["error"] == "CACHE_ERROR"
    assert [one["instance_id"] for one in done.json["instances"]] == ["acme"]
    assert SECRET not in done.out + done.err
    assert get_resolver().get_cache_stats().errors == 0


def test_inspect_redis_down_leaves_with_3(
    settings: Settings, service: ConfigService, own_redis_server: RedisServer
) -> None:
    """Redis away is told as such, for each id."""
    with use_cache("django-redis", redis_url=own_redis_server.url()) as name:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": name}
        own_redis_server.kill()
        done = inspect("acme", "globex")
    assert done.code == 3
    assert done.err.count("CACHE_ERROR: The cache 'instances' failed to read") == 2
