from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.test import override_settings

from instance_lookup import access, conf
from instance_lookup.conf import (
    Settings,
    apply_options,
    build_settings,
    find_problems,
    get_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "s3cret-token"
FERNET_KEY = "c2VjcmV0" * 5 + "AAA="


@dataclass
class Moody(access.Policy):
    mood: list[str] = field(default_factory=list)

    def allows(self, user: Any, config: Any) -> bool:
        return True


@pytest.fixture
def calls() -> Iterator[list[str]]:
    """The names of the callbacks that were called; they are disconnected after the test."""
    before = list(setting_changed.receivers)
    yield []
    setting_changed.receivers[:] = before
    setting_changed.sender_receivers_cache.clear()


def messages(**options: Any) -> list[str]:
    return [f"{p.setting} {p.message} {p.hint}".strip() for p in find_problems(options)]


@override_settings(INSTANCE_LOOKUP={})
def test_defaults_are_the_documented_ones() -> None:
    """The defaults are the documented ones, and no setting is required."""
    settings = get_settings()
    assert settings.config_service_timeout == 5.0
    assert settings.config_service_max_bytes == 1_048_576
    assert (settings.cache_ttl, settings.stale_max_age, settings.negative_ttl) == (300, 3600, 30)
    assert (settings.cache_alias, settings.use_stale_on_error) == ("default", True)
    assert (settings.instance_header, settings.project_header) == ("X-Instance-ID", "X-Project-ID")
    assert (settings.admin_roles, settings.admin_groups) == (("admin",), ())
    assert (settings.allow_anonymous, settings.conceal_denied) == (False, False)
    assert settings.encryption_keys == ()
    assert settings.compress_above is None


def test_defaults_have_no_problems() -> None:
    """Every default passes the check that an explicit value has to pass."""
    defaults = {name: getattr(Settings(), name) for name in Settings.__struct_fields__}
    assert messages(**defaults) == []


def test_settings_absent() -> None:
    """A project that sets nothing gets the defaults; `INSTANCE_LOOKUP` itself may be missing."""
    with override_settings(INSTANCE_LOOKUP={"CACHE_TTL": 10}):
        del django_settings.INSTANCE_LOOKUP
        assert get_settings() == Settings()


@pytest.mark.parametrize("wrong", [None, [], "x", 5])
def test_settings_not_a_dict(wrong: object) -> None:
    """The error names the setting and what was found there."""
    name = type(wrong).__name__
    message = f"INSTANCE_LOOKUP must be a dict, not {name}"
    with (
        override_settings(INSTANCE_LOOKUP=wrong),
        pytest.raises(ImproperlyConfigured, match=message),
    ):
        get_settings()


def test_override_settings_takes_effect_at_once() -> None:
    """Settings are read late, and what is kept of them is dropped when a test changes them."""
    assert get_settings().cache_ttl == 300
    with override_settings(INSTANCE_LOOKUP={"CACHE_TTL": 10}):
        assert get_settings().cache_ttl == 10
    assert get_settings().cache_ttl == 300


def test_settings_are_read_once() -> None:
    """Between changes all callers get the same settings object."""
    assert get_settings() is get_settings()
    assert apply_options({}) is get_settings()


def test_settings_are_frozen() -> None:
    """Settings cannot be changed by a caller."""
    with pytest.raises(AttributeError, match="immutable"):
        get_settings().cache_ttl = 5  # type: ignore[misc]


def test_options_win_over_settings() -> None:
    """Options replace some settings and leave the others."""
    with override_settings(INSTANCE_LOOKUP={"CACHE_TTL": 10, "NEGATIVE_TTL": 5}):
        settings = apply_options({"cache_ttl": 20})
    assert (settings.cache_ttl, settings.negative_ttl) == (20, 5)


def test_lists_become_tuples() -> None:
    """Lists become tuples, so that settings are hashable and equal ones share a resolver."""
    settings = build_settings({"admin_roles": ["admin", "root"]})
    assert settings.admin_roles == ("admin", "root")
    assert hash(settings) == hash(build_settings({"admin_roles": ("admin", "root")}))


def test_paths_become_strings(tmp_path: Path) -> None:
    """Paths such as `BASE_DIR / "ca.pem"` become strings, alone or in a pair."""
    file = tmp_path / "ca.pem"
    file.touch()
    options = {"config_service_ca_bundle": file, "config_service_client_cert": [file, str(file)]}
    settings = build_settings(options)
    assert settings.config_service_ca_bundle == str(file)
    assert settings.config_service_client_cert == (str(file), str(file))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("CACHE_TLL", "Did you mean 'CACHE_TTL'?"),
        ("cache_ttl", "Did you mean 'CACHE_TTL'?"),
        ("Cache_Ttl", "Did you mean 'CACHE_TTL'?"),
        ("SERVICE_URL", "Did you mean 'CONFIG_SERVICE_URL'?"),
    ],
)
def test_unknown_setting_names_the_nearest(name: str, suggestion: str) -> None:
    """A typo is an error that names what was typed and what was probably meant."""
    with (
        override_settings(INSTANCE_LOOKUP={name: TOKEN}),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        get_settings()
    assert str(caught.value) == (
        f"INSTANCE_LOOKUP[{name!r}] is not a setting of instance_lookup. {suggestion}"
    )


def test_unknown_setting_with_nothing_near() -> None:
    """An unknown setting without a similar name gets no suggestion."""
    (problem,) = find_problems({"qqq": 1})
    assert (problem.setting, problem.hint, problem.unknown) == ("QQQ", "", True)


def test_setting_that_is_no_string() -> None:
    """A key that is not even a string is unknown, not a crash."""
    with (
        override_settings(INSTANCE_LOOKUP={5: 1}),
        pytest.raises(ImproperlyConfigured, match=r"INSTANCE_LOOKUP\['5'\] is not a setting"),
    ):
        get_settings()


def test_every_problem_is_named() -> None:
    """One error names all wrong settings."""
    with pytest.raises(ImproperlyConfigured) as caught:
        build_settings({"cache_ttl": 0, "allow_anonymous": "no"})
    assert str(caught.value) == (
        "INSTANCE_LOOKUP['CACHE_TTL'] must be a positive number of seconds, not 0. "
        "INSTANCE_LOOKUP['ALLOW_ANONYMOUS'] must be True or False, not 'no'."
    )


@pytest.mark.parametrize(
    ("url", "stream", "wrong"),
    [
        ("https://a.example/api", "/stream", False),
        ("", "/stream", False),
        ("https://a.example/api", "https://A.example/stream", False),
        ("https://a.example", "http://a.example/stream", True),
        ("https://a.example", "https://a.example:444/stream", True),
        ("https://a.example", "https://a.example.org/stream", True),
        ("", "https://a.example/stream", True),
        (5, "https://a.example/stream", True),
        ("https://a.example?x=1", "https://a.example/stream", True),
        ("https://a.example", None, False),
    ],
)
def test_stream_on_another_host(url: Any, stream: str | None, *, wrong: bool) -> None:
    """The token is sent with it, so it has to be where the service is."""
    options = {"config_service_url": url, "config_service_stream": stream}
    found = [each for each in find_problems(options) if each.setting == "CONFIG_SERVICE_STREAM"]
    assert bool(found) is wrong


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"cache_ttl": 300, "stale_max_age": 299}, True),
        ({"cache_ttl": 300, "stale_max_age": 300}, False),
        ({"cache_ttl": 4000}, True),
        ({"stale_max_age": 60}, True),
        ({"cache_ttl": "x", "stale_max_age": 60}, False),
        ({"cache_ttl": 60, "stale_max_age": "x"}, False),
    ],
)
def test_stale_max_age_below_ttl(options: dict[str, Any], wrong: bool) -> None:
    """STALE_MAX_AGE below CACHE_TTL is an error; values that are no numbers have their own."""
    found = [p for p in find_problems(options) if "purged while fresh" in p.message]
    assert bool(found) is wrong


def test_setting_that_cannot_be_hashed() -> None:
    """A policy that is a mutable dataclass is refused by name, not by a TypeError in a request."""
    assert messages(access_policy=Moody()) == [
        "ACCESS_POLICY holds something that cannot be hashed. Make its dataclass frozen."
    ]
    assert messages(access_policy=access.IsOwner() | Moody()) != []


@pytest.mark.parametrize(
    "options",
    [
        {"config_service_token": TOKEN + "\n"},
        {"config_service_token": TOKEN.encode()},
        {"encryption_keys": [TOKEN]},
        {"encryption_keys": TOKEN},
        {"config_service_tokn": TOKEN},
        {"config_service_proxy": f"https://me:{TOKEN}@proxy"},
        {"config_service_proxy": f"http://me:{TOKEN}@proxy/path"},
        {"config_service_proxy": f"http://me:{TOKEN}#@proxy"},
        {"config_service_proxy": f"http://me:{TOKEN}@proxy\n"},
        {"config_service_proxy": f"http://me:{TOKEN}@proxy".encode()},
    ],
)
def test_problem_shows_no_secret(options: dict[str, Any]) -> None:
    """An error about a token or key does not show it."""
    with pytest.raises(ImproperlyConfigured) as caught:
        build_settings(options)
    assert TOKEN not in str(caught.value)


def test_repr_shows_no_secret() -> None:
    """Settings in a debug page keep the token, the keys and the passwords in URLs."""
    settings = build_settings({
        "config_service_token": TOKEN,
        "encryption_keys": [FERNET_KEY],
        "config_service_url": f"http://me:{TOKEN}@cs",
        "config_service_proxy": f"http://me:{TOKEN}@proxy:3128",
    })  # fmt: skip
    assert settings.config_service_token == TOKEN
    assert TOKEN not in repr(settings)
    assert FERNET_KEY not in repr(settings)


def test_settings_drawn_by_rich_show_no_secret() -> None:
    """Tracebacks of rich show no secret of the settings."""
    pairs = dict(build_settings({"config_service_token": TOKEN}).__rich_repr__())
    assert pairs["cache_ttl"] == 300
    assert TOKEN not in pairs.values()


def test_list_of_names_given_as_a_set() -> None:
    """A set of names is refused where a list is needed: it has no order."""
    assert messages(admin_roles={"admin"}) == [
        "ADMIN_ROLES must be a list of strings, not {'admin'}."
    ]


def test_load_imports_paths_and_passes_objects() -> None:
    """A setting may hold the dotted path or the thing itself."""
    assert build_settings({}).load("access_policy") is access.owner_or_admin
    policy = access.IsOwner()
    assert build_settings({"access_policy": policy}).load("access_policy") is policy


@pytest.mark.parametrize(("candidate", "matches"), [("a-_C9", True), ("-a", False), ("a\n", False)])
def test_id_regex_is_the_pattern(candidate: str, matches: bool) -> None:
    """The default pattern of ids allows letters, digits, - and _, but neither - nor _ first."""
    assert bool(build_settings({}).id_regex.fullmatch(candidate)) is matches


def test_on_change_calls_every_callback(calls: list[str]) -> None:
    """Each callback is called, also two of one name, such as ``clear`` of two dicts."""
    first, second = {"a": 1}, {"b": 2}
    conf.on_change(first.clear)
    conf.on_change(second.clear)
    with override_settings(CACHES={}):
        assert (first, second) == ({}, {})


@pytest.mark.parametrize(
    ("changed", "called"),
    [({"INSTANCE_LOOKUP": {}}, True), ({"CACHES": {}}, True), ({"USE_TZ": False}, False)],
)
def test_on_change_looks_at_two_settings(
    changed: dict[str, Any], called: bool, calls: list[str]
) -> None:
    """``on_change`` callbacks run for INSTANCE_LOOKUP and CACHES only."""
    conf.on_change(lambda: calls.append("called"))
    with override_settings(**changed):
        assert bool(calls) is called
