"""``inspect_instance_cache --compare``: the cached copy beside what the Config Service says."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from msgspec import Struct, field

from instance_lookup import (
    CacheStats,
    ConfigServiceUnavailable,
    InstanceConfig,
    InstanceNotFound,
    LookupContext,
    LookupUser,
    get_resolver,
)
from instance_lookup.backends.base import NotModified
from instance_lookup.operations.compare import (
    Change,
    Difference,
    Verdict,
    acompare,
    acompare_one,
    compare,
    compare_one,
    fingerprint,
)
from instance_lookup.outcomes import Failure
from tests.behaviour.commands.support import (
    SECRET,
    TOKEN,
    WithoutList,
    config,
    json_answer,
    run,
    store,
)
from tests.support.caches import use_cache
from tests.support.servers import Answer

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService
    from tests.support.redis_server import RedisServer

KINDS = ["locmem", "filebased", "db", "redis", "django-redis"]
OTHER = "sk-nor-me"
AS_THE_SITE = LookupContext(LookupUser.service(), instance_id="acme")


class Branding(Struct, frozen=True):
    colours: tuple[str, ...] = ()


class StudioConfig(InstanceConfig, frozen=True, kw_only=True):
    """A project's own class; the names in what it adds may be secrets as well."""

    branding: Branding = Branding()
    webhooks: dict[str, str] = field(default_factory=dict)


class Broken(WithoutList):
    """A backend with a bug."""

    def get_instance(self, *args: object) -> Any:
        raise KeyError(SECRET)


class NeverModified(WithoutList):
    """A backend that answers 304 without having been sent a tag."""

    def get_instance(self, *args: object) -> Any:
        return NotModified()


def inspect(*args: str, **options: Any) -> Any:
    return run("inspect_instance_cache", *args, **{"compare": True, **options})


def service_says(service: ConfigService, **fields: Any) -> None:
    """Have the service give out ``acme`` with other ``fields``."""
    service.scripts["/instances/acme"] = json_answer({**config("acme"), **fields})


@pytest.mark.parametrize("cache_kind", KINDS)
def test_compare_same(cached: ConfigService) -> None:
    """A copy that is what the service says is "same", on each cache."""
    get_resolver().refresh("acme")
    done = inspect("acme")
    assert (done.code, done.err.count("\n")) == (0, done.err.count("LocMemCache"))
    assert done.out.startswith("acme: same (fresh copy, ")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"r2_bucket": "b"}, "r2_bucket"),
        ({"metadata": {"owner": "u2"}}, "metadata.owner"),
        ({"metadata": {}}, "metadata.owner (only in the cache)"),
        (
            {"metadata": {"owner": "u1", "created_at": "2026-01-01T00:00:00Z"}},
            "metadata.created_at (only in the service)",
        ),
        ({"features": {"beta": False}}, "features.beta"),
        ({"features": {"beta": True, "x": False}}, "features.x (only in the service)"),
        ({"worker_urls": {"images": "http://other"}}, "worker_urls.images"),
        ({"rate_limits": {"x": {"rpm": 60}}}, "rate_limits.x.rpm (only in the service)"),
        ({"metadata": {"owner": "u1", "seats": 3}}, None),
        ({"worker_urls": {}}, "worker_urls.images (only in the cache)"),
    ],
)
def test_compare_names_the_field(
    service: ConfigService, fields: dict[str, Any], shown: str | None
) -> None:
    """What differs is named as far down as it can be; what no lookup uses does not count."""
    get_resolver().refresh("acme")
    service_says(service, **fields)
    told = inspect("acme").out.partition(" old)")[2]
    assert told == (f": {shown}\n" if shown else "\n")


def test_compare_rate_limits_by_their_parts(service: ConfigService) -> None:
    """A rate limit that both sides have is compared part by part."""
    service_says(service, rate_limits={"render": {"rpm": 60, "daily": 10}})
    get_resolver().refresh("acme")
    service_says(service, rate_limits={"render": {"rpm": 90, "rpm_burst": 99, "daily": 10}})
    differences = compare_one(get_resolver(), "acme").differences
    assert differences == (
        Difference("rate_limits.render.rpm", Change.CHANGED),
        Difference("rate_limits.render.rpm_burst", Change.ONLY_SERVICE),
    )


def test_compare_keys_by_fingerprint(service: ConfigService) -> None:
    """Of API keys that differ one line shows the fingerprints of both sides."""
    get_resolver().refresh("acme")
    service_says(service, api_keys={"openai": OTHER, "new": OTHER})
    shown = inspect("acme").out.partition("old): ")[2].strip().split("; ")
    old, new = fingerprint(SECRET), fingerprint(OTHER)
    assert shown == [
        f"api_keys.ideogram (only in the cache, {old})",
        f"api_keys.new (only in the service, {new})",
        f"api_keys.openai (cache {old}, service {new})",
    ]


def test_fingerprint_is_an_hmac_of_eight_digits(settings: Settings) -> None:
    """It is an HMAC-SHA256 with SECRET_KEY: whoever lacks that cannot try keys."""
    key = hashlib.sha256(b"instance_lookup.operations.compare" + b"s" * 50).digest()
    settings.SECRET_KEY = "s" * 50
    assert fingerprint("kéy") == hmac.new(key, "kéy".encode(), "sha256").hexdigest()[:8]


def test_compare_json(service: ConfigService) -> None:
    """JSON has the verdict, the state and age of the copy, and each field on its own."""
    store("acme", age=400)
    service_says(service, api_keys={"openai": OTHER, "ideogram": SECRET}, r2_bucket="b")
    done = inspect("acme", "no/id", format="json")
    (one,) = done.json["comparisons"]
    assert done.code == 2
    assert one.pop("age") == pytest.approx(400, abs=30)
    assert one == {
        "instance_id": "acme",
        "verdict": "differs",
        "state": "stale",
        "note": "",
        "in_service": True,
        "differences": [
            {
                "field": "api_keys.openai",
                "change": "changed",
                "cached_fingerprint": fingerprint(SECRET),
                "service_fingerprint": fingerprint(OTHER),
            },
            {
                "field": "r2_bucket",
                "change": "changed",
                "cached_fingerprint": None,
                "service_fingerprint": None,
            },
        ],
    }
    assert [one["error"] for one in done.json["failed"]] == ["INVALID_CONTEXT"]


def test_compare_shows_no_value(
    settings: Settings, service: ConfigService, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever differs, no value of either side is shown or logged, nor a name in added fields."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_CLASS": StudioConfig}

    def secrets(value: str) -> dict[str, Any]:
        return {
            "api_keys": {"openai": value},
            "worker_urls": {"images": f"https://user:{value}@host"},
            "r2_bucket": value,
            "metadata": {"owner": value, "name": value, "tenant_id": value},
            "branding": {"colours": [value]},
            "webhooks": {value: value},
        }

    service_says(service, **secrets(SECRET))
    get_resolver().refresh("acme")
    service_says(service, **secrets(OTHER))
    for output in ("text", "json"):
        done = inspect("acme", format=output)
        shown = done.out + done.err + caplog.text
        assert not any(value in shown for value in (SECRET, OTHER, TOKEN))
        assert done.code == 0
    fields = [one["field"] for one in done.json["comparisons"][0]["differences"]]
    assert fields == [
        "api_keys.ideogram", "api_keys.openai", "branding", "metadata.name", "metadata.owner",
        "metadata.tenant_id", "r2_bucket", "webhooks", "worker_urls.images",
    ][1:]  # fmt: skip


def test_compare_escapes_names(service: ConfigService) -> None:
    """A name that the service chose cannot move the cursor."""
    get_resolver().refresh("acme")
    service_says(service, features={"beta": True, "\x1b[2J": True})
    assert "features.\\x1b[2J (only in the service)" in inspect("acme").out


@pytest.mark.parametrize(
    ("cached", "exists", "verdict", "text"),
    [
        ("copy", False, Verdict.ONLY_CACHED, "only in the cache (fresh copy, "),
        ("negative", True, Verdict.ONLY_SERVICE, "only in the service; the cache remembers that"),
        ("negative", False, Verdict.SAME, "same (both say it does not exist)"),
        ("absent", True, Verdict.NOT_CACHED, "not cached (absent); the service has it"),
        ("old", True, Verdict.NOT_CACHED, "not cached (what is stored was invalidated, or is too"),
        ("absent", False, Verdict.NOT_CACHED, "not cached (absent); the service does not know it"),
        ("broken", True, Verdict.NOT_CACHED, "not cached (unreadable); the service has it"),
    ],
)
def test_compare_where_one_side_has_nothing(
    service: ConfigService, cached: str, exists: bool, verdict: Verdict, text: str
) -> None:
    """That one side lacks the instance is an answer, not a failure."""
    if cached == "copy":
        store("acme")
    elif cached == "negative":
        service.ids = []
        with suppress(InstanceNotFound):
            get_resolver().refresh("acme")
    elif cached == "old":
        store("acme", age=4000)
    elif cached == "broken":
        store("acme")
        caches["default"].set("instance_config:acme", "no entry")
    service.ids = ["acme"] if exists else []
    done = inspect("acme")
    assert (done.code, done.out.startswith(f"acme: {text}")) == (0, True)
    one = compare_one(get_resolver(), "acme")
    assert (one.verdict, one.in_service) == (verdict, exists)


def test_compare_of_a_blocked_instance(service: ConfigService) -> None:
    """A block hides what is stored: until when comes first, and then what the service says."""
    store("acme")
    get_resolver().block_instance("acme", 3600)
    one = compare_one(get_resolver(), "acme")
    assert (one.verdict, one.in_service, one.differences) == (Verdict.BLOCKED, True, ())
    text = r"acme: blocked until \d{4}-.+; the service has it\n"
    assert re.fullmatch(text, inspect("acme").out)


def test_compare_other_spelling_does_not_exist(service: ConfigService) -> None:
    """A document with the id in another spelling is "does not exist", as it is to a lookup."""
    store("acme")
    service_says(service, instance_id="Acme")
    assert compare_one(get_resolver(), "acme").verdict is Verdict.ONLY_CACHED


def test_compare_asks_for_the_whole_document_as_the_site(
    settings: Settings, service: ConfigService
) -> None:
    """It sends no tag, so a wrong 304 cannot hide anything, and no user of the site."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_USER_ID": "ops"}
    service.scripts["/instances/acme"] = Answer(
        200, json.dumps(config("acme")).encode(), {"ETag": '"1"'}
    )
    get_resolver().refresh("acme")
    inspect("acme")
    last = service.server.received[-1]
    assert (last.headers["If-None-Match"], last.headers["X-User-ID"]) == (None, "ops")


@pytest.mark.parametrize("cache_kind", ["redis"])
def test_compare_changes_nothing(cached: ConfigService, redis_server: RedisServer) -> None:
    """Neither a difference nor a 404 changes a key, a value or a lifetime; nothing is counted."""
    redis = import_module("redis")  # by name: the other tests here need no extra
    client = redis.from_url(redis_server.url())

    def stored() -> dict[bytes, Any]:
        ours = client.scan_iter(match=f"{caches['instances'].key_prefix}:*", count=1_000)
        return {key: (client.dump(key), client.expiretime(key)) for key in ours}

    store("acme")
    store("gone")
    service_says(cached, r2_bucket="b")
    before = stored()
    get_resolver().cache.reset_stats()
    assert inspect("acme", "gone", "globex").code == 0
    assert stored() == before
    client.close()
    assert get_resolver().get_cache_stats() == CacheStats()


def test_compare_does_not_open_the_breaker(service: ConfigService) -> None:
    """Failures of a comparison keep no lookup from the service."""
    ids = [f"i{number}" for number in range(10)]
    service.scripts = {f"/instances/{name}": Answer(500) for name in ids}
    assert inspect(*ids).code == 2
    assert get_resolver().resolve(AS_THE_SITE).source == "service"


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (Answer(403), "ACCESS_DENIED", None),
        (Answer(500), "CONFIG_SERVICE_UNAVAILABLE", "status"),
        (Answer(401), "CONFIG_SERVICE_UNAVAILABLE", "credential"),
        (Answer(404, b"<p>", {"Content-Type": "text/html"}), "CONFIG_SERVICE_UNAVAILABLE", None),
        (json_answer({"api_keys": SECRET}), "CONFIG_SERVICE_UNAVAILABLE", "rejected"),
        (json_answer({"instance_id": "b"}), "CONFIG_SERVICE_UNAVAILABLE", "rejected"),
        (Answer(200, b"\xff" + SECRET.encode()), "CONFIG_SERVICE_UNAVAILABLE", "rejected"),
    ],
)
def test_compare_without_a_usable_answer_fails_alone(
    service: ConfigService, answer: Answer, error: str, reason: str | None
) -> None:
    """What the service does not say is the failure of that id, with the reason; others go on."""
    store("acme")
    get_resolver().refresh("globex")
    service.scripts["/instances/acme"] = answer
    done = inspect("acme", "globex", format="json")
    assert done.code == 2
    assert [one["verdict"] for one in done.json["comparisons"]] == ["same"]
    (failed,) = done.json["failed"]
    assert failed["error"] == error
    assert reason is None or failed["reason"] == reason
    assert SECRET not in done.out + done.err


def test_compare_with_the_service_away(service: ConfigService) -> None:
    """An outage is one line for each id, without a traceback or a token."""
    store("acme")
    service.server.stop()
    done = inspect("acme", "globex")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("CONFIG_SERVICE_UNAVAILABLE (unreachable): ") == 2
    assert TOKEN not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("is_service_up", [True, False])
def test_compare_with_the_cache_away(
    settings: Settings, service: ConfigService, own_redis_server: RedisServer, is_service_up: bool
) -> None:
    """Without the cache there is nothing to compare: it says so, and makes no call."""
    with use_cache("django-redis", redis_url=own_redis_server.url()) as name:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": name}
        own_redis_server.kill()
        if not is_service_up:
            service.server.stop()
        done = inspect("acme", "globex")
    assert (done.code, done.out) == (3, "")
    assert done.err.count("CACHE_ERROR: The cache 'instances' failed to read") == 2
    assert service.asked == []


@pytest.mark.parametrize("backend", [Broken, NeverModified])
def test_compare_broken_backend_is_no_answer(
    settings: Settings, caplog: pytest.LogCaptureFixture, backend: type
) -> None:
    """A bug of a project's own backend is told without what it said, and is logged."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": backend}
    done = inspect("acme", format="json")
    assert done.code == 2
    (failed,) = done.json["failed"]
    reason = "KeyError" if backend is Broken else "rejected"
    assert (failed["error"], failed["reason"]) == ("CONFIG_SERVICE_UNAVAILABLE", reason)
    assert SECRET not in done.out + done.err
    assert ("Traceback" in caplog.text) is (backend is Broken)


def test_compare_unexpected_error_fails_alone(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a comparison itself costs one instance."""
    get_resolver().refresh("globex")
    peek = get_resolver().cache.tiers.shared.peek

    def broken(instance_id: str) -> object:
        if instance_id == "acme":
            raise KeyError(SECRET)
        return peek(instance_id)

    monkeypatch.setattr(get_resolver().cache.tiers.shared, "peek", broken)
    done = inspect("acme", "globex", format="json")
    assert (done.code, len(done.json["comparisons"])) == (2, 1)
    assert done.json["failed"][0]["error"] == "KeyError"


def test_compare_without_ids_takes_the_list(service: ConfigService) -> None:
    """Without ids every instance of the service's list is compared, each once."""
    get_resolver().refresh("acme")
    done = inspect(format="json")
    verdicts = {one["instance_id"]: one["verdict"] for one in done.json["comparisons"]}
    assert verdicts == {"acme": "same", "globex": "not_cached", "initech": "not_cached"}


@pytest.mark.parametrize(
    ("status", "said"), [(503, "did not list its instances"), (404, "(404). Name the ids.")]
)
def test_compare_without_a_list_leaves_with_4(
    service: ConfigService, status: int, said: str
) -> None:
    """Without a list there is nothing to go through, and the command says what to do."""
    service.scripts = {"/instances": Answer(status)}
    done = inspect(format="json")
    assert (done.code, done.json["comparisons"]) == (4, [])
    assert said in done.err


@pytest.mark.parametrize("option", ["stale", "show_config", "watch"])
def test_compare_beside_another_view_is_a_usage_error(service: ConfigService, option: str) -> None:
    """It is a view of its own; the error names both options, and nothing is asked."""
    done = inspect("acme", **{option: True})
    name = option.replace("_", "-")
    assert (done.code, done.err) == (1, f"Either --compare or --{name}, not both.")
    assert service.asked == []


def test_compare_without_a_secret_key_is_a_usage_error(
    settings: Settings, service: ConfigService
) -> None:
    """Fingerprints need SECRET_KEY: a site without one gets a sentence, not a traceback."""
    settings.SECRET_KEY = ""
    done = inspect("acme")
    assert done.code == 1
    assert "SECRET_KEY" in done.err


async def test_compare_async_twins(service: ConfigService) -> None:
    """The twins give the same, in the same order, and raise the same."""
    resolver = get_resolver()
    ids = ["acme", "no/id", "globex", "acme"]
    found = [one async for one in acompare(resolver, ids)]
    assert found == list(compare(resolver, ids))
    assert [isinstance(one, Failure) for one in found] == [False, True, False]
    assert await acompare_one(resolver, "acme") == compare_one(resolver, "acme")
    service.server.stop()
    with pytest.raises(ConfigServiceUnavailable):
        await acompare_one(resolver, "acme")
