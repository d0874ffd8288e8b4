"""An API key must not show up where an error does: a log line, a traceback, Django's debug page."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django.views.debug import ExceptionReporter

from instance_lookup import (
    CacheError,
    ConfigServiceUnavailable,
    InstanceCache,
    InstanceConfig,
    InstanceResolver,
    LookupContext,
    LookupUser,
)
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.entry import Rejected, read_document
from instance_lookup.cache.kinds import PROJECT, encode_document, instance_kind

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-SECRET"
CONFIG = InstanceConfig(instance_id="acme", api_keys={"ideogram": KEY})
BROKEN = {
    "default": {"BACKEND": "tests.behaviour.django.test_leaks.BrokenCache", "LOCATION": "broken"}
}


class BrokenCache(LocMemCache):
    """Fails where the value is a local variable of the backend's own frames."""

    def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if ":instance_config:" in self.make_key(key):
            raise OSError("connection lost")
        super().set(key, value, *args, **kwargs)


def raised_by(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as exc:  # noqa: BLE001  # whatever it is
        return exc
    raise AssertionError("nothing was raised")


def everything_shown_of(exc: Exception) -> str:
    """Return what logs, error trackers with locals, and the debug page make of an error."""
    reporter = ExceptionReporter(None, type(exc), exc, exc.__traceback__)
    with_locals = traceback.TracebackException.from_exception(exc, capture_locals=True)
    return "".join([
        logging.Formatter().formatException((type(exc), exc, exc.__traceback__)),
        *with_locals.format(),
        reporter.get_traceback_html(),
        reporter.get_traceback_text(),
        f"{exc!r} {exc} {vars(exc)}",
    ])  # fmt: skip


def test_failed_store_shows_no_key() -> None:
    """A cache that fails in the middle of `set` prints the entry from none of its frames."""
    with override_settings(CACHES=BROKEN):
        exc = raised_by(lambda: InstanceCache().set("acme", CONFIG))
    assert isinstance(exc, CacheError)
    assert KEY not in everything_shown_of(exc)


@pytest.mark.parametrize(
    "document",
    [
        {"instance_id": "acme", "api_keys": {"a": KEY}, "rate_limits": {"a": {"rpm": "many"}}},
        {"instance_id": "other", "api_keys": {"a": KEY}},
    ],
)
def test_rejected_answer_shows_no_key(document: dict[str, Any]) -> None:
    """An invalid answer of the Config Service shows no key in the frames of the error."""
    resolver = InstanceResolver(config_service_backend=DictConfigService({"acme": document}))
    context = LookupContext(LookupUser.service(), instance_id="acme")
    exc = raised_by(lambda: resolver.resolve(context))
    assert isinstance(exc, ConfigServiceUnavailable)
    assert KEY not in everything_shown_of(exc)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instance_id": "acme", "api_keys": {"a": "sk-SECRET"',
        b'{"instance_id": "acme", "api_keys": {"a": "sk-SECRET", "b": 5}}',
        b'{"instance_id": "acme", "api_keys": "sk-SECRET"}',
        b'{"instance_id": "other", "api_keys": {"a": "sk-SECRET"}}',
        b'{"instance_id": "acme", "api_keys": {"a": "sk-SECRET\xff"}}',
        b'{"instance_id": "acme", "features": null, "api_keys": {"a": "sk-SECRET", "b": 5}}',
        b'{"instance_id": "acme", "features": null, "api_keys": {"a": "sk-SECRET"}, "metadata": 5}',
        b'{"instance_id": "acme", "features": null, "api_keys": {"a": "sk-SECRET"',
        b'{"instance_id": "acme", "api_keys": {"a": "sk-SECRET", "a": "sk-SECRET"}}',
        b'{"instance_id": "acme", "worker_urls": {"a": "ftp://sk-SECRET"}, "r2_bucket": 5}',
        b'{"instance_id": "acme", "metadata": {"created_at": "sk-SECRET", "owner": true}}',
    ],
)
def test_rejected_document_shows_no_key(body: bytes) -> None:
    """A document is rejected without repeating it, in the message or in the frames."""
    body_here = [body]
    kind = instance_kind(InstanceConfig)
    exc = raised_by(lambda: read_document(kind, "acme", body_here.pop()))
    assert isinstance(exc, Rejected)
    here = exc.__traceback__
    assert here is not None
    # The frames of this test hold the body; ours are the last one.
    while here.tb_next is not None:
        here = here.tb_next
    assert KEY not in everything_shown_of(exc.with_traceback(here))


def test_rejected_project_names_the_place() -> None:
    """The message says what is wrong in a project's document, and in which field."""
    with pytest.raises(Rejected, match=r"field `instance_id` of .*: Expected `str`, got `int`"):
        read_document(PROJECT, "p1", b'{"project_id": "p1", "instance_id": 5}')


def test_encoded_document_holds_keys_but_shows_none() -> None:
    """The bytes are the document; what is shown of them is their number."""
    body = encode_document(CONFIG)
    assert KEY in body.decode()
    assert KEY not in f"{body!r} {body!s} {body} {[body]}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_what_holds_a_config(protocol: int) -> None:
    """A pickled config is a leaked key, alone or inside what a task or a session would hold."""
    for value in (CONFIG, CONFIG.api_keys, {"config": CONFIG}, [CONFIG.api_keys]):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value, protocol)


class AbortedCache(LocMemCache):
    """Hangs, until the server gives its worker up."""

    def touch(self, key: str, *args: Any, **kwargs: Any) -> bool:
        raise SystemExit(1)


def test_abort_in_the_middle_of_a_store_shows_no_key() -> None:
    """A server's abort goes past every handler of ours, to an error tracker that shows locals."""
    service = DictConfigService({"acme": {"api_keys": {"ideogram": KEY}}})
    caches = {
        "default": {
            "BACKEND": "tests.behaviour.django.test_leaks.AbortedCache",
            "LOCATION": "aborted",
        }
    }
    with override_settings(CACHES=caches), pytest.raises(SystemExit) as caught:
        InstanceResolver(config_service_backend=service).refresh("acme")
    aborted = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in aborted.stack if "/instance_lookup/" in frame.filename]
    assert ours
    assert not any(KEY in shown for frame in ours for shown in (frame.locals or {}).values())
