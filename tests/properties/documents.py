"""Documents as services write them, each with the config that becomes of it."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from instance_lookup import InstanceConfig, InstanceMetadata, RateLimit
from tests.support.canary import CANARY
from tests.support.config_documents import NO_FLAGS, NO_STRINGS, NO_URLS, URLS

if TYPE_CHECKING:
    from collections.abc import Mapping

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
names = st.text(max_size=20)
LEFT_OUT = object()
"""What becomes of an entry that a client ignores."""


class Sent(NamedTuple):
    """A value of a document, and what a config has in its place."""

    value: Any
    becomes: Any


def _same(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sent]:
    return values.map(lambda value: Sent(value, value))


def _ignored(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sent]:
    return values.map(lambda value: Sent(value, LEFT_OUT))


def _kept(sent: Mapping[str, Sent]) -> dict[str, Any]:
    return {name: each.becomes for name, each in sent.items() if each.becomes is not LEFT_OUT}


def _object(entries: st.SearchStrategy[Sent]) -> st.SearchStrategy[Sent]:
    """Return maps of entries, or ``null``, which is as good as none."""
    maps = st.dictionaries(names, entries, max_size=4).map(
        lambda sent: Sent({name: each.value for name, each in sent.items()}, _kept(sent))
    )
    return maps | _ignored(st.none())


def _record(made: Any, required: Mapping[str, Any], **optional: Any) -> st.SearchStrategy[Sent]:
    """Return objects with fixed fields, which become ``made`` of what is kept of them."""
    fields = st.fixed_dictionaries(dict(required), optional=optional)
    return fields.map(
        lambda sent: Sent({name: each.value for name, each in sent.items()}, made(**_kept(sent)))
    )


_null = _ignored(st.none())


def _count(most: int) -> st.SearchStrategy[Sent]:
    counts = st.integers(0, most)
    return _same(counts) | counts.map(lambda n: Sent(float(n), n))


_rate, _daily = _count(10**8), _count(10**12)
_ids = _same(st.text()) | st.integers().map(lambda n: Sent(n, str(n))) | _null
_words = _same(st.text()) | _ignored(st.sampled_from(NO_STRINGS)) | _null
_moments = st.datetimes(timezones=st.just(UTC)).map(lambda at: Sent(at.isoformat(), at))
_dates = _moments | _ignored(st.sampled_from(["", "yesterday", 5, [], "2026-02-30"])) | _null

limits = _record(RateLimit, {"rpm": _rate}, rpm_burst=_rate | _null, daily=_daily | _null)
metadata = _record(
    InstanceMetadata,
    {},
    **dict.fromkeys(("name", "description"), _words),
    **dict.fromkeys(("owner", "tenant_id"), _ids),
    **dict.fromkeys(("created_at", "updated_at"), _dates),
)
keys = _same(st.text().map(CANARY.__add__))
configs = _record(
    InstanceConfig,
    {"instance_id": _same(st.just("acme"))},
    api_keys=_object(keys | _null),
    rate_limits=_object(limits),
    worker_urls=_object(
        _same(st.sampled_from(URLS)) | _ignored(st.sampled_from([*NO_URLS, *NO_STRINGS])) | _null
    ),
    r2_bucket=_same(st.text()) | _null,
    metadata=metadata | _null,
    features=_object(_same(st.booleans()) | _ignored(st.sampled_from(NO_FLAGS)) | _null),
    unknown=_ignored(json_values),
)
"""Any document that is taken, and the config that it becomes."""

documents = st.fixed_dictionaries(
    {"instance_id": st.just("acme") | json_values, "api_keys": st.just({"render": CANARY})},
    optional=dict.fromkeys(
        ("rate_limits", "worker_urls", "r2_bucket", "metadata", "features", "new"), json_values
    ),
)
"""Objects with the right names and any values; the API key is the canary."""
