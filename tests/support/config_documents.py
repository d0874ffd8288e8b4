"""The one table of configurations: what the contract allows, and what the client makes of them.

The client, docs/reference/config-service.openapi.yaml and the reference Config Service are tested
with it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from instance_lookup import InstanceConfig, InstanceMetadata, RateLimit

ID = "acme"
DAY = datetime(2026, 1, 31, tzinfo=UTC)
MOMENT = DAY.replace(hour=9, minute=30)


class Row(NamedTuple):
    """One configuration, and how the client reads it."""

    name: str
    fields: dict[str, Any]
    """What the service sends beside ``instance_id``; it may name another one."""
    becomes: dict[str, Any] | None
    """The fields of the config that the client makes of it; ``None``: it is refused."""
    left_out: tuple[str, ...] = ()
    """The places of what the client counts and leaves out."""
    is_contract: bool = True
    """Whether a service may write it so."""

    @property
    def document(self) -> dict[str, Any]:
        return {"instance_id": ID, **self.fields}

    @property
    def body(self) -> bytes:
        return json.dumps(self.document).encode()

    @property
    def config(self) -> InstanceConfig:
        assert self.becomes is not None
        return InstanceConfig(**{"instance_id": ID, **self.becomes})


def _refused(name: str, **fields: Any) -> Row:
    return Row(name, fields, None, is_contract=False)


def _metadata(name: str, sent: dict[str, Any], *, is_contract: bool, **becomes: Any) -> Row:
    made = {"metadata": InstanceMetadata(**becomes)}
    return Row(name, {"metadata": sent}, made, is_contract=is_contract)


def _without(name: str, sent: dict[str, Any]) -> Row:
    """Return the row of metadata without the one field that was sent, and no string."""
    places = tuple(f"metadata.{field}" for field in sent)
    return Row(name, {"metadata": sent}, {}, places, is_contract=False)


NO_OBJECTS: list[Any] = ["x", [], 5, False]
NO_STRINGS: list[Any] = [5, True, [], {}]
NO_COUNTS: list[Any] = [60.5, "60", "", True, -1, -1.0, [], {}]
NO_LIMITS: list[Any] = [None, 60, "60", [], {}, {"daily": 5}, {"rpm": None}]
NO_FLAGS: list[Any] = ["yes", "true", 1, 0, 1.0, [], {}]
NO_IDS: list[Any] = [True, False, 1.5, 1e17, [], ["1"], {}]
NO_DATES: list[Any] = [
    *("", " ", "yesterday", "0000-00-00", "2026-02-30T00:00:00Z", "1769850000"),
    *(1769850000, 1769850000000, 1769850000.5, True, [], {}),
]
MOST = {"rpm": 10**8, "rpm_burst": 10**8, "daily": 10**12}
LIMIT = {"render": RateLimit(rpm=60)}

ALLOWED = [
    Row("nothing but the id", {}, {}),
    Row("an unknown field", {"new": [1], "metadata": {"x": 1}}, {}),
    Row(
        "every field",
        {
            "api_keys": {"render": "k"},
            "rate_limits": {"render": {"rpm": 60, "rpm_burst": 90, "daily": None}},
            "worker_urls": {"render": "https://worker.example/jobs"},
            "r2_bucket": "b",
            "metadata": {"name": "N", "owner": "1", "created_at": "2026-01-31T09:30:00Z"},
            "features": {"beta": True, "old": False},
        },
        {
            "api_keys": {"render": "k"},
            "rate_limits": {"render": RateLimit(rpm=60, rpm_burst=90)},
            "worker_urls": {"render": "https://worker.example/jobs"},
            "r2_bucket": "b",
            "metadata": InstanceMetadata(name="N", owner="1", created_at=MOMENT),
            "features": {"beta": True, "old": False},
        },
    ),
    *(
        Row(f"null for {field}", {field: None}, {})
        for field in (
            *("api_keys", "rate_limits", "worker_urls", "r2_bucket", "metadata", "features"),
        )
    ),
    *(
        Row(f"null for metadata.{field}", {"metadata": {field: None}}, {})
        for field in ("name", "description", "owner", "tenant_id", "created_at", "updated_at")
    ),
    *(
        Row(f"null for {field}", {"rate_limits": {"render": {"rpm": 60, field: None}}},
            {"rate_limits": LIMIT})
        for field in ("rpm_burst", "daily")
    ),
    Row("an integral float as a limit", {"rate_limits": {"render": {"rpm": 60.0, "daily": 0.0}}},
        {"rate_limits": {"render": RateLimit(rpm=60, daily=0)}}),
    Row("the largest limit", {"rate_limits": {"render": MOST}},
        {"rate_limits": {"render": RateLimit(**MOST)}}),
    Row("a limit of nought", {"rate_limits": {"render": {"rpm": 0}}},
        {"rate_limits": {"render": RateLimit(rpm=0)}}),
    _metadata("a date with another offset", {"updated_at": "2026-01-31T10:30:00+01:00"},
              updated_at=MOMENT.astimezone(timezone(timedelta(hours=1))), is_contract=True),
    _metadata("a blank owner", {"owner": ""}, owner="", is_contract=True),
]  # fmt: skip

LENIENT = [
    Row("null for a key", {"api_keys": {"a": None, "b": "k"}}, {"api_keys": {"b": "k"}},
        is_contract=False),
    Row("null for a flag", {"features": {"a": None, "b": True}}, {"features": {"b": True}},
        is_contract=False),
    Row("null for a worker", {"worker_urls": {"a": None}}, {}, is_contract=False),
    *(
        Row(f"a flag that is {wrong!r}", {"features": {"bad": wrong, "b": True}},
            {"features": {"b": True}}, ("features['bad']",), is_contract=False)
        for wrong in NO_FLAGS
    ),
    *(
        _metadata(f"{number} as {field}", {field: number}, **{field: digits}, is_contract=False)
        for field in ("owner", "tenant_id")
        for number, digits in (
            *((1, "1"), (0, "0"), (-7, "-7"), (7.0, "7")),
            (123456789012345678901234567890, "123456789012345678901234567890"),
        )
    ),
    *(
        _metadata(f"{text} as a date", {field: text}, **{field: moment}, is_contract=False)
        for field in ("created_at", "updated_at")
        for text, moment in (
            ("2026-01-31", DAY),
            ("2026-01-31T09:30:00", MOMENT),
            ("2026-01-31 09:30", MOMENT),
            ("2026-01-31 09:30:00+00", MOMENT),
            ("20260131T093000Z", MOMENT),
        )
    ),
    *(
        _without(f"{wrong!r} as a date", {"created_at": wrong})
        for wrong in NO_DATES
    ),
    _without("two unreadable dates", {"created_at": "", "updated_at": 5}),
    *(
        _without(f"{wrong!r} as {field}", {field: wrong})
        for field in ("name", "description")
        for wrong in NO_STRINGS
    ),
]  # fmt: skip

REFUSED = [
    *(_refused(f"{wrong!r} as id", instance_id=wrong) for wrong in (None, "", *NO_STRINGS)),
    *(
        _refused(f"{wrong!r} for {field}", **{field: wrong})
        for field in ("api_keys", "rate_limits", "worker_urls", "metadata", "features")
        for wrong in NO_OBJECTS
    ),
    *(_refused(f"{wrong!r} as a key", api_keys={"a": wrong}) for wrong in NO_STRINGS),
    *(_refused(f"{wrong!r} as bucket", r2_bucket=wrong) for wrong in NO_STRINGS),
    *(_refused(f"{wrong!r} as a limit", rate_limits={"a": wrong}) for wrong in NO_LIMITS),
    *(
        _refused(f"{wrong!r} as {field}", rate_limits={"a": {"rpm": 1, field: wrong}})
        for field in ("rpm", "rpm_burst", "daily")
        for wrong in (*NO_COUNTS, MOST[field] + 1, float(MOST[field] + 1), 1e300)
    ),
    *(
        _refused(f"{wrong!r} as {field}", metadata={field: wrong})
        for field in ("owner", "tenant_id")
        for wrong in NO_IDS
    ),
]

URLS = [
    *("http://w", "https://w", "HTTP://W", "https://w.example/jobs?x=1#y", "http://127.0.0.1:8002"),
    *("http://[::1]:80/a", "https://user:pa:ss@w/", "https://w:/", "http://bücher.example/ü"),
    *("http://w?x", "http://w#x", "https://w/a@b:c/http://d", "http://w/'\"<>|", "http://a_b"),
]
NO_URLS = [
    *("", " ", "w", "w.example/jobs", "//w", "/jobs", "http:", "http:/w", "http:w", "http://"),
    *("http:///jobs", "http://?x", "http://#x", "http://:80", "https://user@", "https://u@:80/"),
    *("ftp://w", "file:///etc/passwd", "javascript:alert(1)", "httpx://w", "xhttp://w", "ws://w"),
    *("http://[x]/", "http://[::1", "http://[]", "http://w:port", "http://w:123456", "http://w:-1"),
    *(" http://w", "http://w ", "http://w\n", "\nhttp://w", "http://w/a b", "http://w\t"),
    *("http://a b", "http://w/\x00", "http://w\x7f", "http://a\\@b", "http://a@b@c", "http://a\u2028b"),
]  # fmt: skip

WORKERS = [
    *(Row(f"worker {url!r}", {"worker_urls": {"a": url}}, {"worker_urls": {"a": url}})
      for url in URLS),
    *(
        Row(f"worker {wrong!r}", {"worker_urls": {"bad": wrong, "b": "http://b"}},
            {"worker_urls": {"b": "http://b"}}, ("worker_urls['bad']",), is_contract=False)
        for wrong in (*NO_URLS, *NO_STRINGS)
    ),
]  # fmt: skip

TABLE = [*ALLOWED, *LENIENT, *REFUSED, *WORKERS]
