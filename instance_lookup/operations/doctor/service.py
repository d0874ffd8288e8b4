"""What is asked of any backend: a list, a document, one that does not exist, another user."""

from __future__ import annotations

from collections import Counter
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from instance_lookup.backends.answers import Reason
from instance_lookup.backends.base import Document, NotModified
from instance_lookup.exceptions import AccessDenied, InstanceNotFound
from instance_lookup.identifiers import ProjectIdentifier
from instance_lookup.operations.doctor.documents import (
    CONTRACT,
    judge_document,
    judge_users,
    owner_of,
    shorten,
)
from instance_lookup.operations.doctor.findings import Finding, error, ok, skipped, warning
from instance_lookup.operations.doctor.measures import judge_latency
from instance_lookup.outcomes import no_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.operations.doctor.probing import Asked, Asker
    from instance_lookup.resolver import InstanceResolver

SAMPLE_PROBES = ("document", "etag", "users")
PROBES = ("list", "unknown id", "latency", "projects", *SAMPLE_PROBES)
DEEP_PROBES = ("whole list", "all documents")

_PASSING = frozenset({Reason.TIMEOUT, Reason.UNREACHABLE, Reason.STATUS, Reason.RATE_LIMITED})
CALLS = 20
"""How many calls measure the latency."""


class _Walk(NamedTuple):
    """How far the list was walked through."""

    problem: str = ""
    """What went wrong."""
    ended: bool = True


class Service:
    """The Config Service of ``resolver``, asked by ``asker`` for the instance ``sample``.

    ``sample`` is the one that was named, else :meth:`first_page` takes the first of the list.
    ``unknown`` is an id that does not exist.
    """

    def __init__(self, resolver: InstanceResolver, asker: Asker, sample: str | None) -> None:
        self._resolver = resolver
        self._kind = resolver.cache.tiers.kind
        self._asker = asker
        self.sample = sample
        self.listed: int | None = None
        """How many instances are known of: those of the first page, or of all."""
        self.unknown = f"doctor-{token_hex(8)}"

    def first_page(self) -> Finding:
        """Ask for the first page of the list."""
        asked = self._asker.page()
        if asked.error and no_list(asked.error):
            return ok("list", "there is none, which is allowed: commands need ids by name then")
        if asked.error:
            return warning("list", asked.problem, f"Commands need it. {CONTRACT}")
        ids = asked.answer.instance_ids
        self.listed = len(ids)
        usable = [each for each in ids if self._resolver.selector.is_id(each)]
        self.sample = self.sample or next(iter(usable), None)
        if wrong := [repr(each) for each in ids if each not in usable]:
            seen = f"it names what is no id: {shorten(wrong)}"
            return warning("list", seen, "Leave these out, or change INSTANCE_ID_PATTERN.")
        more = "; there are more pages" if asked.answer.next else ""
        return ok("list", f"{len(ids)} instances on the first page{more}", instances=len(ids))

    def missing(self) -> Finding:
        """Ask for an instance that does not exist."""
        asked = self._asker.instance(self.unknown)
        return _judge_missing("unknown id", asked, "an instance")

    def projects(self) -> Finding:
        """Ask for a project that does not exist."""
        if not any(isinstance(each, ProjectIdentifier) for each in self._resolver.identifiers):
            return skipped("projects", "no identifier of this site takes a project")
        found = _judge_missing("projects", self._asker.project(self.unknown), "a project")
        if found.do:
            do = f"{found.do} Without projects, take ProjectIdentifier out of IDENTIFIERS."
            return warning("projects", found.seen, do)
        return found

    def latency(self) -> Finding:
        """Ask twenty times, for as long as one call may take."""
        asked_for = self.sample or self.unknown
        settings = self._resolver.settings
        seconds: list[float] = []
        failures: list[str] = []
        until = monotonic() + self._asker.seconds
        while len(seconds) + len(failures) < CALLS and (left := until - monotonic()) > 0:
            asked = self._asker.instance(asked_for, seconds=left)
            if _is_answered(asked):
                seconds.append(asked.seconds)
            # Behind an answer, only the time for this probe may be over.
            elif not seconds or _reason(asked) != Reason.TIMEOUT:
                failures.append(asked.problem)
        return judge_latency(
            seconds,
            failures,
            soft_timeout=settings.soft_timeout,
            timeout=settings.config_service_timeout,
        )

    def document(self) -> Finding:
        """Judge the document of the sample."""
        asked = self._asker.instance(self._sample)
        if isinstance(asked.error, AccessDenied):
            do = "Give the site's own user access: warming and jobs ask as CONFIG_SERVICE_USER_ID."
            return warning("document", f"the site itself is refused {self._sample!r} (403)", do)
        if not isinstance(asked.answer, Document):
            return error("document", _no_document(asked, self._sample), f"Correct it: {CONTRACT}")
        return judge_document(self._kind, self._sample, asked.answer.body)

    def etag(self) -> Finding:
        """Ask for the sample again with the tag that came with it."""
        first = self._asker.instance(self._sample)
        if not isinstance(first.answer, Document):
            return skipped("etag", _no_document(first, self._sample))
        etag = first.answer.etag
        if etag is None:
            why = "there is no ETag that can be sent back, which is allowed"
            return skipped("etag", why, "With one, a document that is unchanged is not sent again.")
        again = self._asker.instance(self._sample, etag=etag)
        if isinstance(again.answer, NotModified):
            return ok("etag", "a copy that is still current is not sent again (304)")
        seen = again.problem or "the whole document is sent again for its own ETag"
        return warning("etag", seen, "Answer If-None-Match with 304 while the ETag holds.")

    def users(self) -> Finding:
        """Ask for the sample as several users."""
        first = self._asker.instance(self._sample)
        if not isinstance(first.answer, Document):
            return skipped("users", _no_document(first, self._sample))
        users = {"a stranger": self.unknown, "another stranger": token_hex(8)}
        if owner := owner_of(self._kind, self._sample, first.answer.body):
            users["the owner"] = owner
        bodies = {"the site itself": first.answer.body}
        for user, user_id in users.items():
            asked = self._asker.instance(self._sample, user_id=user_id)
            if isinstance(asked.answer, Document):
                bodies[user] = asked.answer.body
            elif not isinstance(asked.error, AccessDenied):
                return _judge_other_answer(user, asked)
        again = self._asker.instance(self._sample)
        if not isinstance(again.answer, Document):
            return skipped("users", _no_document(again, self._sample))
        return judge_users(bodies, again.answer.body)

    def whole_list(self) -> Finding:
        """Page through the list, for as long as one call may take."""
        ids: list[str] = []
        walk = self._walk(ids.append)
        if walk.problem:
            return warning("whole list", walk.problem, f"Commands need it. {CONTRACT}")
        if twice := [repr(each) for each, count in Counter(ids).items() if count > 1]:
            seen = f"it names more than once: {shorten(twice)}"
            return warning("whole list", seen, "Name each instance once: cursors are to be stable.")
        self.listed = len(ids)
        seen = f"{len(ids)} instances, each once{'' if walk.ended else ', as far as time allowed'}"
        return ok("whole list", seen, instances=len(ids))

    def all_documents(self) -> Finding:
        """Judge each document of the list, for as long as one call may take."""
        wrong: list[str] = []
        counts = {"documents": 0}
        walk = self._walk(partial(self._note, wrong, counts))
        if wrong:
            do = f"Correct them: {CONTRACT} --instance shows one of them in full."
            seen = f"{len(wrong)} of {counts['documents']} cannot be used: {shorten(wrong)}"
            return error("all documents", seen, do, wrong=len(wrong), **counts)
        if not counts["documents"]:
            return skipped("all documents", walk.problem or "the list is empty")
        of = "" if walk.ended else ", as many as time allowed"
        seen = f"{counts['documents']} looked at{of}: all can be used"
        return ok("all documents", seen, **counts)

    @property
    def _sample(self) -> str:
        return self.sample or ""

    def _note(self, wrong: list[str], counts: dict[str, int], instance_id: str) -> None:
        asked = self._asker.instance(instance_id)
        counts["documents"] += 1
        if not isinstance(asked.answer, Document):
            wrong.append(_no_document(asked, instance_id))
            return
        finding = judge_document(self._kind, instance_id, asked.answer.body)
        if finding.level == "error":
            wrong.append(finding.seen)

    def _walk(self, take: Callable[[str], None]) -> _Walk:
        """Hand each id of the list to ``take``, for as long as one call may take."""
        until = monotonic() + self._asker.seconds
        cursor: str | None = None
        cursors: set[str] = set()
        while True:
            asked = self._asker.page(cursor)
            if asked.error:
                return _Walk(asked.problem)
            for instance_id in asked.answer.instance_ids:
                if monotonic() > until:
                    return _Walk(ended=False)
                take(instance_id)
            cursor = asked.answer.next
            if cursor is None:
                return _Walk()
            if monotonic() > until:  # pages may be empty, and each have a new cursor
                return _Walk(ended=False)
            if cursor in cursors:
                return _Walk("the cursor of a page came twice: the list has no end")
            cursors.add(cursor)


def _judge_missing(probe: str, asked: Asked, what: str) -> Finding:
    if isinstance(asked.error, InstanceNotFound):
        return ok(probe, f"{what} that does not exist is not found")
    if isinstance(asked.error, AccessDenied):
        seen = f"{what} that does not exist is refused (403)"
        return warning(probe, seen, "Answer it with 404: users are told that they may not.")
    if asked.error is None:
        seen = f"{what} that does not exist is answered like one that does"
        return error(probe, seen, f"Answer it with 404. {CONTRACT}")
    if _reason(asked) == Reason.NOT_THE_SERVICE:
        return error(
            probe,
            f"{what} that does not exist is answered with a page: {asked.error}",
            "Answer 404 with JSON or an empty body; a page is taken for another server's, and what"
            " was deleted is served from its copy. Or CONFIG_SERVICE_URL has a wrong path.",
        )
    return error(probe, f"{what} that does not exist: {asked.problem}", "Answer it with 404.")


def _judge_other_answer(user: str, asked: Asked) -> Finding:
    seen = f"{user} gets no document: {asked.problem or 'the answer is none'}"
    if _reason(asked) in _PASSING:  # it may have to do with the user, or not
        return warning("users", seen, "Find out why in the log of the service.")
    do = "Only a 403 may depend on X-User-ID; a 404 for one user counts for all."
    return error("users", seen, do)


def _no_document(asked: Asked, instance_id: str) -> str:
    return f"no document of {instance_id!r}: {asked.problem or 'the answer is none'}"


def _is_answered(asked: Asked) -> bool:
    """Tell whether the service answered, if only with what cannot be used."""
    is_refused = isinstance(asked.error, AccessDenied | InstanceNotFound)
    return asked.error is None or is_refused or _reason(asked) == Reason.REJECTED


def _reason(asked: Asked) -> object:
    return getattr(asked.error, "details", {}).get("reason")
