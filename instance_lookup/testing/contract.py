"""What every backend of ``CONFIG_SERVICE_BACKEND`` has to do, as tests for yours."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import msgspec

from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.cache.entry import read_document
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.context import fresh_request_id
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
)
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.types import InstanceConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from instance_lookup.backends.base import ConfigServiceBackend

FIRST: dict[str, Any] = {
    "instance_id": "contract-1",
    "api_keys": {"render": "first-key"},
    "rate_limits": {"render": {"rpm": 60, "daily": None}},
    "worker_urls": {"render": "https://worker.example/jobs"},
    "r2_bucket": "first",
    "metadata": {"name": "Eins, один", "owner": "olga", "created_at": "2026-01-31T09:30:00Z"},
    "features": {"beta": True},
}
INSTANCES: dict[str, dict[str, Any]] = {
    "contract-1": FIRST,
    "contract-10": {"instance_id": "contract-10", "r2_bucket": "tenth"},
    "Contract-1": {"instance_id": "Contract-1", "r2_bucket": "capital"},
}
_KIND = instance_kind(InstanceConfig)
PROJECTS = {"film": "contract-1", "film-2": "contract-10"}


class ConfigServiceContract:
    """Inherit from this, implement :meth:`backend`, and have pytest or unittest run it.

    ::

        class TestMyBackend(ConfigServiceContract):
            def backend(self, instances, projects):
                return nullcontext(MyBackend(FakeParameterStore(instances, projects)))

    For unittest name ``unittest.TestCase`` as the second base. What a backend cannot be made to
    do is skipped: see :meth:`refuse`, :meth:`break_down` and :meth:`hang`.
    """

    has_projects = True
    """Set to False where ``get_project`` is not implemented."""
    has_list = True
    """Set to False where ``list_instances`` is not implemented."""

    def backend(
        self, instances: Mapping[str, Mapping[str, Any]], projects: Mapping[str, str]
    ) -> AbstractContextManager[ConfigServiceBackend]:
        """Return a context manager for a backend that knows these configurations and no others."""
        raise NotImplementedError("Return a context manager for a backend to be tested.")

    def refuse(self, user_id: str, instance_id: str) -> None:
        """Have the source of the last backend refuse this user this instance."""
        raise SkipTest("This source refuses no user.")

    def break_down(self) -> None:
        """Have the source of the last backend fail."""
        raise SkipTest("This source cannot be broken.")

    def hang(self) -> None:
        """Have the source of the last backend never answer."""
        raise SkipTest("This source cannot be made to hang.")

    def test_instance_is_the_one_asked_for(self) -> None:
        """Each id has its own document; ids are compared exactly."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            for instance_id, fields in INSTANCES.items():
                body = _document(backend.get_instance(instance_id, query())).body
                assert isinstance(body, bytes), f"the body is {type(body).__name__}, not bytes"
                read = read_document(_KIND, instance_id, body)  # as the resolver reads it
                assert read.left_out == (), f"it cannot be used as it is: {read.left_out}"
                config = msgspec.convert(fields, InstanceConfig)
                assert read.document == config, "not the one it was given"

    def test_unknown_instance_is_not_found(self) -> None:
        """Anything but an exact match is ``InstanceNotFound``."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            for instance_id in ("contract-2", "contract-", "contract", "CONTRACT-1", "film"):
                error = _error(partial(backend.get_instance, instance_id, query()))
                assert isinstance(error, InstanceNotFound), f"{instance_id!r}: {error!r}"

    def test_same_document_for_every_user(self) -> None:
        """One answer is shared among all users of a site."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            users = (None, "olga", "jörg", "a b%/?")
            queries = [query(user_id=user) for user in users]
            bodies = [_document(backend.get_instance("contract-1", each)).body for each in queries]
            assert len(set(bodies)) == 1, "the document depends on the user"

    def test_etag_is_of_the_document(self) -> None:
        """An unchanged document keeps its tag, a changed one has another."""
        changed = {**INSTANCES, "contract-1": {**FIRST, "r2_bucket": "changed"}}
        etags = []
        for instances in (INSTANCES, INSTANCES, changed):
            with self.backend(instances, PROJECTS) as backend:
                etags.append(_document(backend.get_instance("contract-1", query())).etag)
        assert etags[0] == etags[1], "two tags for the same document"
        assert etags[0] is None or etags[0] != etags[2], "one tag for two documents"

    def test_held_copy_is_current(self) -> None:
        """A caller with the current copy is told so, or given it again."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            first = _document(backend.get_instance("contract-1", query()))
            second = backend.get_instance("contract-1", query(etag=first.etag))
            if isinstance(second, NotModified):
                assert first.etag is not None, "NotModified, but no tag was ever given"
            else:
                assert _document(second) == first, "another answer to the same question"

    def test_held_copy_is_outdated(self) -> None:
        """A caller with an old copy gets the document."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            tag = _document(backend.get_instance("contract-1", query())).etag
        changed = {**INSTANCES, "contract-1": {**FIRST, "r2_bucket": "changed"}}
        with self.backend(changed, PROJECTS) as backend:
            for etag in (tag, '"never-heard-of"'):
                body = _document(backend.get_instance("contract-1", query(etag=etag))).body
                assert json.loads(body)["r2_bucket"] == "changed"

    def test_project_names_its_instance(self) -> None:
        """With both ids."""
        self._needs(self.has_projects, "projects")
        with self.backend(INSTANCES, PROJECTS) as backend:
            for project_id, instance_id in PROJECTS.items():
                found = json.loads(_document(backend.get_project(project_id, query())).body)
                assert (found["project_id"], found["instance_id"]) == (project_id, instance_id)

    def test_unknown_project_is_not_found(self) -> None:
        """An instance's id is no project's."""
        self._needs(self.has_projects, "projects")
        with self.backend(INSTANCES, PROJECTS) as backend:
            for project_id in ("fil", "film-1", "FILM", "contract-1"):
                error = _error(partial(backend.get_project, project_id, query()))
                assert isinstance(error, InstanceNotFound), f"{project_id!r}: {error!r}"

    def test_list_has_each_instance_once(self) -> None:
        """Over all pages, of which there is an end."""
        self._needs(self.has_list, "a list")
        many = {f"i{number}": {"instance_id": f"i{number}"} for number in range(25)}
        for instances in (INSTANCES, many, {}):
            with self.backend(instances, {}) as backend:
                assert sorted(_listed(backend)) == sorted(instances)

    def test_threads_do_not_mix_answers(self) -> None:
        """Methods are called from several threads at once."""
        with self.backend(INSTANCES, PROJECTS) as backend, ThreadPoolExecutor(8) as threads:
            asked = list(INSTANCES) * 8
            answers = threads.map(lambda name: backend.get_instance(name, query()), asked)
            told = [json.loads(_document(answer).body)["instance_id"] for answer in answers]
            assert told == asked, "a caller got the answer to another question"

    def test_spent_deadline(self) -> None:
        """With no time left there is an answer at once, or ``ConfigServiceUnavailable``."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            began = monotonic()
            error = _error(lambda: backend.get_instance("contract-1", query(seconds=0.0)))
            assert error is None or isinstance(error, ConfigServiceUnavailable), repr(error)
            assert monotonic() - began < 1.0, "it went on after the deadline"

    def test_refused_user_is_denied(self) -> None:
        """Only this user, and only for this instance."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            self.refuse("sam", "contract-1")
            error = _error(lambda: backend.get_instance("contract-1", query(user_id="sam")))
            assert isinstance(error, AccessDenied), repr(error)
            _document(backend.get_instance("contract-1", query(user_id="olga")))
            _document(backend.get_instance("contract-10", query(user_id="sam")))

    def test_broken_source_is_unavailable(self) -> None:
        """That is never "does not exist", and there is a reason among the details."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            self.break_down()
            for call in self._calls(backend, seconds=5.0):
                _assert_unavailable(_error(call))

    def test_hanging_source_is_left_at_the_deadline(self) -> None:
        """Each call fails in time, even when the source never answers."""
        with self.backend(INSTANCES, PROJECTS) as backend:
            self.hang()
            for call in self._calls(backend, seconds=0.2):
                began = monotonic()
                _assert_unavailable(_error(call))
                assert monotonic() - began < 1.2, "it went on after the deadline"

    def _calls(
        self, backend: ConfigServiceBackend, *, seconds: float
    ) -> list[Callable[[], object]]:
        calls: list[Callable[[], object]] = [
            lambda: backend.get_instance("contract-1", query(seconds=seconds)),
            lambda: backend.get_instance("no-such-instance", query(seconds=seconds)),
        ]
        if self.has_projects:
            calls.append(lambda: backend.get_project("film", query(seconds=seconds)))
        if self.has_list:
            calls.append(lambda: backend.list_instances(query(seconds=seconds)))
        return calls

    def _needs(self, has: bool, what: str) -> None:  # noqa: FBT001  # one call a line
        if not has:
            raise SkipTest(f"This backend has no {what}.")


def query(*, seconds: float = 5.0, user_id: str | None = "olga", etag: str | None = None) -> Query:
    """Return a query as the resolver makes it; it has to be answered within ``seconds``.

    ``user_id`` is that of the user who asks (``None``: there is none), ``etag`` that of the copy
    which the resolver holds (``None``: it holds none).
    """
    return Query(Deadline.after(seconds), fresh_request_id(), user_id, etag)


def _document(answer: object) -> Document:
    assert isinstance(answer, Document), f"{answer!r} is no Document"
    assert answer.etag is None or isinstance(answer.etag, str)
    return answer


def _error(call: Callable[[], object]) -> InstanceLookupError | None:
    try:
        call()
    except InstanceLookupError as error:
        return error
    return None


def _assert_unavailable(error: InstanceLookupError | None) -> None:
    assert isinstance(error, ConfigServiceUnavailable), repr(error)
    assert error.details.get("reason"), "ConfigServiceUnavailable without a reason"


def _listed(backend: ConfigServiceBackend) -> list[str]:
    ids: list[str] = []
    cursor = None
    for _ in range(1000):
        page = backend.list_instances(query(), cursor)
        ids += page.instance_ids
        if page.next is None:
            return ids
        cursor = page.next
    raise AssertionError("the list does not end")
