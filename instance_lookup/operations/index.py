"""The index of the instances that a site has asked the Config Service for, and the last answers.

It is read, changed and written in parts. Where two processes change one part at the same moment,
the later one wins: what the other wrote is missing until its next call for that instance.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.operations.stored import (
    ANSWERS,
    ANSWERS_LIFE,
    EXISTS,
    SEEN_LIFE,
    Answer,
    Answers,
    Form,
    News,
    Seen,
    Shard,
    answers_key,
    newest,
    shard_key,
    shard_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.resolver import InstanceResolver

_LONGEST = 200
"""Characters of a name, owner or tenant: there is room for all in one value."""


def write_seen(resolver: InstanceResolver, news: Mapping[str, News]) -> None:
    """Put the instances of which there is ``news`` into the index, and the new answers of each.

    Raises what the backend raises, and ``CacheError``.
    """
    cache, form = key_values[resolver.settings.cache_alias], Form(resolver.settings)
    by_shard = defaultdict(list)
    for instance_id in news:
        by_shard[shard_of(instance_id)].append(instance_id)
    found = read_shards(cache, form, [*by_shard])
    known: dict[str, Sequence[Answer]] = {}
    for shard, ids in by_shard.items():
        instances = dict(found[shard])
        for instance_id in ids:
            new, before = news[instance_id], instances.get(instance_id)
            exists = new.source or any(each.outcome in EXISTS for each in new.answers)
            if before or exists:
                instances[instance_id] = _look(resolver, instance_id, new, before)
                known[instance_id] = new.answers
        if instances != found[shard]:
            kept = Shard(instances=newest(instances.values()))
            key = shard_key(shard)
            cache.set(key, form.encode(kept, key), SEEN_LIFE)
    _write_answers(cache, form, known)


def read_shards(cache: KeyValue, form: Form, shards: Sequence[int]) -> dict[int, dict[str, Seen]]:
    """Return the instances in parts of the index, by one look into the ``cache``."""
    read = form.read_many(cache, [shard_key(shard) for shard in shards], Shard)
    return {shard: each.instances if each else {} for shard, each in zip(shards, read, strict=True)}


def read_answers(resolver: InstanceResolver, instance_id: str) -> list[Answer]:
    """Return the last answers of the Config Service about an instance, the newest first.

    They are of all processes that report; none where ``REPORT_STATUS`` is off. Raises
    ``CacheError``.
    """
    form, key = Form(resolver.settings), answers_key(instance_id)
    with resolver.cache.tiers.shared.errors.raised_to("read", instance_id, counted=False) as cache:
        found = form.decode(cache.get(key), key, Answers)
    return found.answers if found else []


def _write_answers(cache: KeyValue, form: Form, called: Mapping[str, Sequence[Answer]]) -> None:
    new = {answers_key(instance_id): answers for instance_id, answers in called.items() if answers}
    for (key, answers), before in zip(
        new.items(), form.read_many(cache, [*new], Answers), strict=True
    ):
        merged = sorted(
            [*answers, *(before.answers if before else ())], key=lambda each: each.at, reverse=True
        )
        cache.set(key, form.encode(Answers(answers=merged[:ANSWERS]), key), ANSWERS_LIFE)


def _look(resolver: InstanceResolver, instance_id: str, new: News, before: Seen | None) -> Seen:
    """Return what the cache holds of an instance now, and what is new of it."""
    # Name, owner and tenant stay: people look for it by these while the cache does not hold it.
    seen = before or Seen(id=instance_id, seen=0.0)
    seen = replace(seen, seen=max(seen.seen, new.at), source=new.source or seen.source)
    if new.answers:
        seen = replace(seen, outcome=new.answers[-1].outcome)
    if failed := [answer for answer in new.answers if answer.failed]:
        seen = replace(seen, failed_at=failed[-1].at, failure=failed[-1].outcome)
    found = resolver.cache.tiers.shared.peek(instance_id)
    if (entry := found.entry) is None:
        return replace(seen, cached_at=None, size=None, unreadable=found.unreadable)
    seen = replace(
        seen,
        unreadable=False,
        cached_at=entry.cached_at,
        ttl=entry.ttl,
        negative=entry.document is None,
        expired=entry.expired,
        size=len(entry.raw),
    )
    if entry.document is None:
        return seen
    about = entry.document.metadata
    return replace(
        seen,
        name=_short(about.name),
        owner=_short(about.owner),
        tenant_id=_short(about.tenant_id),
    )


def _short(text: str | None) -> str | None:
    return text and text[:_LONGEST]
