from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import LookupContext, LookupUser, Source, get_resolver
from instance_lookup.signals import instance_invalidated
from tests.behaviour.commands.support import BACKENDS_WITHOUT_LIST, NO_LIST, SECRET, run
from tests.support.caches import use_cache
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.behaviour.commands.support import ConfigService, Site
    from tests.support.redis_server import RedisServer

INVALIDATE = "invalidate_instance_cache"
BROKEN = {"default": {"BACKEND": "tests.behaviour.commands.support.PartlyBrokenCache"}}


def invalidate(*args: str, **options: Any) -> Any:
    return run(INVALIDATE, *args, **options)


def source(instance_id: str) -> Source:
    """Look an instance up, which caches it; return the source of the answer."""
    context = LookupContext(LookupUser.service(), instance_id=instance_id)
    return get_resolver().resolve(context).source


@pytest.fixture
def told() -> Iterator[list[tuple[str | None, bool]]]:
    """What `instance_invalidated` sent: each id, and whether it was only expired."""
    told: list[tuple[str | None, bool]] = []

    def receiver(*, instance_id: str | None, expired: bool, **kwargs: object) -> None:
        told.append((instance_id, expired))

    instance_invalidated.connect(receiver)
    yield told
    instance_invalidated.disconnect(receiver)


@pytest.mark.parametrize("cache_kind", ["locmem", "db", "redis", "django-redis"])
def test_invalidate_named_instances(cached: ConfigService) -> None:
    """Named instances are fetched again; instances that are not named stay cached."""
    for instance_id in cached.ids:
        source(instance_id)
    done = invalidate("acme", "globex")
    assert done.code == 0
    assert done.out == (
        "Invalidated instance acme (was cached).\nInvalidated instance globex (was cached).\n"
    )
    assert [source(instance_id) for instance_id in cached.ids] == [
        Source.SERVICE, Source.SERVICE, Source.CACHE
    ]  # fmt: skip


def test_invalidate_what_is_not_cached(service: ConfigService) -> None:
    """An instance that is not cached is invalidated as well: an answer may be under way."""
    done = invalidate("acme")
    assert (done.code, done.out) == (0, "Invalidated instance acme (was not cached).\n")


def test_invalidate_works_while_the_service_is_down(service: ConfigService) -> None:
    """Invalidating one tenant works without the Config Service."""
    source("acme")
    service.server.stop()
    assert invalidate("acme").code == 0
    assert not get_resolver().cache.has("acme")


def test_invalidate_expire_keeps_the_copy(
    service: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """--expire has the service asked, and the copy served if it fails."""
    source("acme")
    done = invalidate("acme", expire=True)
    assert (done.code, done.out) == (0, "Expired instance acme.\n")
    assert told == [("acme", True)]
    service.server.stop()
    assert source("acme") is Source.STALE_CACHE


def test_invalidate_project_forgets_the_mapping(service: ConfigService) -> None:
    """A project that moved is asked for again; its instance is not."""
    context = LookupContext(LookupUser.service(), project_id="web")
    get_resolver().resolve(context)
    done = invalidate("--project", "web", "site")
    assert done.code == 0
    assert done.out == (
        "Invalidated project web (was cached).\nInvalidated project site (was not cached).\n"
    )
    get_resolver().resolve(context)
    assert service.asked == ["/instances/acme", "/projects/web", "/projects/web"]


def test_invalidate_json_is_one_object(service: ConfigService) -> None:
    """Instances, projects and failures, each in its list."""
    source("acme")
    done = invalidate("acme", "no/id", "--project", "web", "--format", "json")
    assert done.code == 2
    assert done.json["action"] == "invalidate"
    assert done.json["instances"] == [{"instance_id": "acme", "was_cached": True}]
    assert done.json["projects"] == [{"project_id": "web", "was_cached": False}]
    assert [one["instance_id"] for one in done.json["failed"]] == ["no/id"]


def test_invalidate_malformed_ids_fail_alone(service: ConfigService) -> None:
    """A mistyped id is told apart from one that was revoked, and keeps back none of the others."""
    source("acme")
    done = invalidate("no/id", "acme", "--project", "no project")
    assert done.code == 2
    assert "no/id: INVALID_CONTEXT: " in done.err
    assert "no project: INVALID_CONTEXT: " in done.err
    assert done.out == "Invalidated instance acme (was cached).\n"


@pytest.mark.parametrize("output", ["text", "json"])
def test_invalidate_cache_error_names_what_was_not(
    settings: Settings, service: ConfigService, output: str
) -> None:
    """Failed invalidations are named, with exit code 3, and the other ids are still tried."""
    settings.CACHES = BROKEN
    source("acme")
    done = invalidate("broken-1", "acme", "broken-2", "no/id", format=output)
    assert done.code == 3
    assert done.err.endswith("3 of 4 failed: broken-1, broken-2, no/id.")
    assert not get_resolver().cache.has("acme")
    assert SECRET not in done.out + done.err


def test_invalidate_redis_down_leaves_with_3(
    settings: Settings, service: ConfigService, own_redis_server: RedisServer
) -> None:
    """A revocation that Redis did not take is never reported as done."""
    with use_cache("redis", redis_url=own_redis_server.url()) as alias:
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        own_redis_server.kill()
        done = invalidate("acme", "globex")
        everything = invalidate(all=True, interactive=False, format="json")
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith("2 of 2 failed: acme, globex.")
    assert everything.code == 3
    assert everything.json["failed"][0]["instance_id"] is None
    assert everything.err.endswith("1 of 1 failed: all instances.")


def test_invalidate_dry_run_changes_nothing(
    service: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """--dry-run checks and names, and everything stays cached."""
    source("acme")
    done = invalidate("acme", "no/id", "--project", "web", "--dry-run")
    assert done.code == 2
    assert done.out == "Would invalidate instance acme.\nWould invalidate project web.\n"
    assert told == []
    assert source("acme") is Source.CACHE


def test_invalidate_dry_run_of_expire(service: ConfigService) -> None:
    """The verb is the one that would be used."""
    done = invalidate("acme", expire=True, dry_run=True)
    assert done.out == "Would expire instance acme.\n"


@pytest.mark.parametrize("cache_kind", ["locmem", "django-redis"])
def test_invalidate_all_takes_instances_and_projects(
    cached: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """--all reaches what no id was named for, of both kinds."""
    context = LookupContext(LookupUser.service(), project_id="web")
    get_resolver().resolve(context)
    done = invalidate(all=True, interactive=False)
    assert (done.code, done.out) == (0, "Invalidated all instances and projects.\n")
    assert told == [(None, False)]
    assert get_resolver().resolve(context).source is Source.SERVICE
    assert cached.asked.count("/projects/web") == 2


def test_invalidate_all_asks_for_the_first_page_only(service: ConfigService) -> None:
    """--all asks for one page of the list: that shows whether the service answers."""
    invalidate(all=True, interactive=False)
    assert service.asked == ["/instances"]


@pytest.mark.parametrize("cache_kind", ["locmem", "django-redis"])
@pytest.mark.parametrize("answer", NO_LIST)
def test_invalidate_all_of_a_service_without_a_list(
    cached: ConfigService, told: list[tuple[str | None, bool]], answer: Answer
) -> None:
    """A service that says it has no list is there: nothing keeps --all from its work."""
    source("acme")
    cached.scripts = {"/instances": answer}
    done = invalidate(all=True, interactive=False)
    assert (done.code, done.out) == (0, "Invalidated all instances and projects.\n")
    said = f"The Config Service has no list of instances ({answer.status}). The command goes on"
    assert said in done.err
    assert told == [(None, False)]
    assert source("acme") is Source.SERVICE


def test_invalidate_all_without_a_list_in_json(service: ConfigService) -> None:
    """--all without a list is no error, and standard output is one JSON object."""
    service.scripts = {"/instances": Answer(405)}
    done = invalidate(all=True, interactive=False, format="json")
    assert done.code == 0
    assert done.json["instances"] == [{"instance_id": None, "was_cached": None}]
    assert done.json["list_error"] is None


def test_invalidate_all_without_a_list_still_asks_the_user(
    service: ConfigService,
    told: list[tuple[str | None, bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--all on a service without a list still asks the user to confirm."""
    service.scripts = {"/instances": Answer(404)}
    monkeypatch.setattr("builtins.input", lambda: "no")
    assert invalidate(all=True).code == 1
    assert told == []


def test_invalidate_all_dry_run_without_a_list(
    service: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """The dry run has the exit code of the real one."""
    service.scripts = {"/instances": Answer(501)}
    done = invalidate(all=True, dry_run=True)
    assert (done.code, done.out) == (0, "Would invalidate all instances and projects.\n")
    assert told == []


@pytest.mark.parametrize("backend", BACKENDS_WITHOUT_LIST)
def test_invalidate_all_of_a_backend_without_a_list(
    settings: Settings, caplog: pytest.LogCaptureFixture, backend: type
) -> None:
    """A backend of the project's own need not implement one, and nothing is logged about it."""
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": backend}
    done = invalidate(all=True, interactive=False)
    assert (done.code, done.out) == (0, "Invalidated all instances and projects.\n")
    assert "has no list of instances (list_instances is not implemented)" in done.err
    assert caplog.text == ""


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 408, 429, 500, 502, 503])
def test_invalidate_all_without_a_service_stops(
    service: ConfigService, told: list[tuple[str | None, bool]], status: int
) -> None:
    """--all without a service leaves with 4 and invalidates nothing: all tenants would be down."""
    source("acme")
    service.scripts = {"/instances": Answer(status, b"<html>")}
    done = invalidate(all=True, interactive=False)
    assert (done.code, done.out) == (4, "")
    assert "--force does it all the same" in done.err
    assert told == []
    assert source("acme") is Source.CACHE


def test_invalidate_all_without_a_service_in_json(service: ConfigService) -> None:
    """The JSON object names the error of the list as well."""
    service.scripts = {"/instances": Answer(500)}
    done = invalidate(all=True, interactive=False, dry_run=True, format="json")
    assert done.code == 4
    assert done.json["instances"] == []
    assert done.json["list_error"]["error"] == "CONFIG_SERVICE_UNAVAILABLE"


def test_invalidate_all_force_does_it_without_a_service(
    service: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """--force does not ask the Config Service, so it works at once in an emergency."""
    service.server.stop()
    done = invalidate(all=True, interactive=False, force=True, format="json")
    assert done.code == 0
    assert done.json["instances"] == [{"instance_id": None, "was_cached": None}]
    assert told == [(None, False)]


def test_invalidate_all_dry_run_neither_asks_nor_does(
    service: ConfigService, told: list[tuple[str | None, bool]]
) -> None:
    """--all --dry-run asks for no confirmation, and does nothing."""
    done = invalidate(all=True, dry_run=True)
    assert (done.code, done.out) == (0, "Would invalidate all instances and projects.\n")
    assert told == []


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("y", 1), ("", 1), (None, 1)])
def test_invalidate_all_asks_first(
    service: ConfigService,
    told: list[tuple[str | None, bool]],
    monkeypatch: pytest.MonkeyPatch,
    answer: str | None,
    code: int,
) -> None:
    """Only a whole "yes" confirms --all, and the question is not part of the output."""

    def typed() -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", typed)
    done = invalidate(all=True, format="json")
    assert done.code == code
    assert bool(told) == (code == 0)
    assert "Type 'yes' to go on: " in done.err
    assert bool(done.out) == (code == 0)


def test_invalidate_all_interrupted_at_the_question(
    service: ConfigService,
    told: list[tuple[str | None, bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C is a no, without a traceback."""

    def typed() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", typed)
    done = invalidate(all=True)
    assert done.code == 130
    assert done.err.endswith("Interrupted.")
    assert told == []


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "Name instances, a --project, or --all."),
        (["--all", "acme"], "Either name instances and projects, or give --all."),
        (["--all", "--project", "web"], "Either name instances and projects, or give --all."),
        (["--all", "--expire"], "--expire is for instances by name"),
        (["acme", "--expire", "--project", "web"], "--expire is for instances;"),
    ],
)
def test_invalidate_contradictory_options(
    service: ConfigService, told: list[tuple[str | None, bool]], args: list[str], complaint: str
) -> None:
    """Options that contradict each other are refused before anything is done."""
    done = invalidate(*args, "--no-input")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(complaint)
    assert (told, service.asked) == ([], [])


def test_invalidate_process_reaches_the_site(
    site: Site,
    service: ConfigService,
    redis_server: RedisServer,
    settings: Settings,
) -> None:
    """An instance that a command in another process invalidated is not served by this one."""
    with use_cache("redis", redis_url=redis_server.url()) as alias:
        config = {key: value for key, value in settings.CACHES[alias].items() if key != "OPTIONS"}
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CACHE_ALIAS": alias}
        site.configure(
            CACHES={"default": config, alias: config}, INSTANCE_LOOKUP=settings.INSTANCE_LOOKUP
        )
        source("acme")
        done = site.run(INVALIDATE, "acme", "no/id", "--format", "json")
        assert source("acme") is Source.SERVICE
    assert done.code == 2
    assert done.json["instances"] == [{"instance_id": "acme", "was_cached": True}]
    assert done.err == "CommandError: 1 of 2 failed: no/id.\n"
