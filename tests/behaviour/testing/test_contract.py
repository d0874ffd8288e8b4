"""Every backend we ship keeps the contract that users' backends are held to, and it can fail."""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest import SkipTest, TestCase
from unittest import result as unittest_result

import pytest

from instance_lookup.backends.base import Document, NotModified, Page
from instance_lookup.backends.file import FileConfigService
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.exceptions import ConfigServiceUnavailable
from instance_lookup.testing import ConfigServiceContract, FakeConfigService
from tests.support.insides import disconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from instance_lookup.backends.base import ConfigServiceBackend, Query

    Instances = Mapping[str, Mapping[str, Any]]
    Projects = Mapping[str, str]


class TestHttp(ConfigServiceContract):
    service: FakeConfigService

    @contextmanager
    def backend(self, instances: Instances, projects: Projects) -> Iterator[ConfigServiceBackend]:
        with FakeConfigService(instances, projects, page_size=7) as self.service:
            backend = HttpConfigService(url=self.service.url)
            yield backend
            disconnect(backend)

    def refuse(self, user_id: str, instance_id: str) -> None:
        self.service.refuse(user_id, instance_id)

    def break_down(self) -> None:
        self.service.fail(500)

    def hang(self) -> None:
        self.service.hang()


class TestDict(ConfigServiceContract):
    last: DictConfigService

    def backend(
        self, instances: Instances, projects: Projects
    ) -> AbstractContextManager[ConfigServiceBackend]:
        self.last = DictConfigService(instances, projects)
        return nullcontext(self.last)

    def break_down(self) -> None:
        self.last.failure = ConfigServiceUnavailable("down", reason="unreachable")


class TestFile(ConfigServiceContract):
    path: Path

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "instances.json"

    @contextmanager
    def backend(self, instances: Instances, projects: Projects) -> Iterator[ConfigServiceBackend]:
        content = {"instances": list(instances.values()), "projects": projects}
        self.path.write_text(json.dumps(content), encoding="utf-8")
        yield FileConfigService(self.path)

    def break_down(self) -> None:
        self.path.unlink()


class ContractOfDicts(TestDict, TestCase):
    """Run by :func:`test_contract_under_unittest`, not by itself."""

    __test__ = False


class Minimal(ContractOfDicts):
    has_projects = has_list = False


class Constant(DictConfigService):
    """A backend with one tag for all documents, which always says "not modified"."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        if query.etag:
            return NotModified()
        answer = super().get_instance(instance_id, query)
        return Document(answer.body, '"1"') if isinstance(answer, Document) else answer


class WithoutTags(DictConfigService):
    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        answer = super().get_instance(instance_id, query)
        return Document(answer.body) if isinstance(answer, Document) else answer


class Sloppy(DictConfigService):
    """Ignores case, forgets users, never ends its list."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        body = {"instance_id": instance_id.lower(), "r2_bucket": query.user_id or ""}
        return Document(json.dumps(body).encode())

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        return Page(("contract-1",), "again")


def run(case: type[TestCase]) -> unittest_result.TestResult:
    result = unittest_result.TestResult()
    for name in dir(case):
        if name.startswith("test_"):
            case(name)(result)
    return result


def contract(make: Callable[[Instances, Projects], ConfigServiceBackend]) -> type[TestCase]:
    class Case(ContractOfDicts):
        def backend(
            self, instances: Instances, projects: Projects
        ) -> AbstractContextManager[ConfigServiceBackend]:
            return nullcontext(make(instances, projects))

        def break_down(self) -> None:
            raise SkipTest("Not what this is about.")

    return Case


def failed(make: Callable[[Instances, Projects], ConfigServiceBackend]) -> set[str]:
    result = run(contract(make))
    assert not result.errors, result.errors
    return {case.id().rpartition(".test_")[2] for case, _ in result.failures}


def test_contract_under_unittest() -> None:
    """The contract works as a mixin of ``TestCase``; what the source cannot do is skipped."""
    result = run(ContractOfDicts)
    assert result.wasSuccessful(), result.failures + result.errors
    assert len(result.skipped) == 2


def test_contract_of_a_backend_with_instances_only() -> None:
    """A backend with instances only can be tested without the other two methods."""
    result = run(Minimal)
    assert result.wasSuccessful(), result.failures + result.errors
    assert len(result.skipped) == 5


def test_contract_without_a_backend() -> None:
    """A contract without ``backend`` fails with a message; its other methods skip their tests."""
    with pytest.raises(NotImplementedError, match="context manager"):
        ConfigServiceContract().backend({}, {})
    for verb in ("break_down", "hang"):
        with pytest.raises(SkipTest):
            getattr(ConfigServiceContract(), verb)()


def test_contract_without_tags() -> None:
    """A backend without tags passes the contract."""
    assert failed(WithoutTags) == set()


def test_contract_finds_tags_that_do_not_change() -> None:
    """The contract finds a backend whose tags do not change with the document."""
    assert failed(Constant) == {"etag_is_of_the_document", "held_copy_is_outdated"}


def test_contract_finds_a_tenant_mixed_up() -> None:
    """The contract finds a backend that mixes up cases or users, or lists without an end."""
    assert failed(Sloppy) >= {
        "instance_is_the_one_asked_for",
        "unknown_instance_is_not_found",
        "same_document_for_every_user",
        "list_has_each_instance_once",
        "threads_do_not_mix_answers",
    }
