"""Rotations: any process does anything at any time, and nothing that is invalid is served."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceNotFound
from instance_lookup.exceptions import InstanceBlocked
from tests.support.lookups import DOWN, acme, provide_variant
from tests.support.sealing import KEY, KEYS, OTHER_KEY, PARAMS, Site, Writer, version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from instance_lookup import InstanceResolver

pytestmark = [pytest.mark.extras, pytest.mark.full]
STEPS = [[OTHER_KEY], [OTHER_KEY, KEY], [KEY, OTHER_KEY], [KEY]]
"""The key lists of a rotation. Processes of two that follow each other run at the same time."""
ACTS = ["change", "invalidate", "invalidate_all", "expire", "gone", "block", "unblock", "fail"]
"""What happens, by its name in :class:`Story`."""
OFTEN = ["change", "change", "fail", "start", "wait"]
ATTACKS = ["copy", "restore", "delete"]
MOMENTS = [0.001, 0.01, 1.0, 6.0]
PAUSES = [30, 60, 301, 3_000]
"""Seconds."""


@pytest.fixture(params=PARAMS[:2])
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from provide_variant(request, tmp_path)


class Story:
    """Three processes of a site, and what each of them must not serve any more."""

    def __init__(self, site: Site, writer: Writer, random: Random, lists: list[list[str]]) -> None:
        self.site, self.writer, self.random, self.lists = site, writer, random, lists
        self.newest = 0
        self.least = [0, 0, 0]
        self.blocked_until = 0.0
        self.copies: list[dict[str, Any]] = [{}]
        self.processes = [self._process() for _ in range(3)]
        site.service.instances["acme"] = acme("0")

    def _process(self) -> InstanceResolver:
        keys = self.random.choice(self.lists)
        return self.site.process(encryption_keys=keys, refresh_ahead=None)

    def invalid(self, actor: int, *, is_attacked: bool) -> None:
        """Note what is over: for all; with someone who writes to the cache, for the actor."""
        for each in [actor] if is_attacked else range(3):
            self.least[each] = self.newest

    def act(self, name: str, actor: int, *, is_attacked: bool) -> None:
        """Have a process, or someone else, do what is named."""
        site, process = self.site, self.processes[actor]
        if name == "change":
            self.newest += 1
            site.service.instances["acme"] = acme(str(self.newest))
        elif name == "start":
            self.processes[actor] = self._process()
            self.least[actor] = 0 if is_attacked else self.least[actor]
        elif name == "wait":
            site.clock.now += self.random.choice(PAUSES)
        elif name == "fail":
            site.service.failure = self.random.choice([None, None, DOWN])
        elif name == "copy":
            self.copies.append(self.writer.copy())
        elif name == "restore":
            self.writer.restore(self.random.choice(self.copies))
        elif name == "delete":
            self.writer.delete(self.random.choice(KEYS))
        elif name == "expire":
            process.cache.expire("acme")
        elif self._ends(name, process):
            self.invalid(actor, is_attacked=is_attacked)

    def _ends(self, name: str, process: InstanceResolver) -> bool:
        """Do what is named; tell whether what was stored before is invalid."""
        if name == "gone":
            kept = self.site.service.instances.pop("acme")
            try:
                process.refresh("acme")
            except (InstanceNotFound, InstanceBlocked, ConfigServiceUnavailable) as exc:
                return isinstance(exc, InstanceNotFound)
            finally:
                self.site.service.instances["acme"] = kept
        if name == "block":
            self.blocked_until = process.block_instance("acme", 60)
        elif name == "unblock":
            if not process.unblock_instance("acme"):
                return False
            self.blocked_until = 0.0
        else:
            getattr(process.cache, name)(*(["acme"] if name == "invalidate" else []))
        return True


@pytest.mark.parametrize("is_attacked", [False, True])
@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("seed", range(6))
def test_story_of_a_rotation(
    site: Site,
    writer: Writer,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    step: int,
    *,
    is_attacked: bool,
) -> None:
    """No process serves what is invalid; no block is lost without a word, and none comes back."""
    random = Random(3 * seed + step)
    story = Story(site, writer, random, STEPS[step : step + 2])
    before = site.process(encryption_keys=STEPS[max(step - 1, 0)])
    version(before)
    if seed % 2:
        story.blocked_until = before.block_instance("acme", 60)
    acts = ACTS + OFTEN + (ATTACKS * 2 if is_attacked else [])
    for _ in range(150):
        actor = random.randrange(3)
        if random.random() < 0.5:
            site.clock.now += random.choice(MOMENTS)
            if (act := random.choice(acts)) == "block":
                caplog.clear()
            story.act(act, actor, is_attacked=is_attacked)
            continue
        is_blocked = story.blocked_until > site.clock.now
        try:
            found = int(version(story.processes[actor]))
        except InstanceBlocked:
            assert is_blocked or is_attacked
        except (InstanceNotFound, ConfigServiceUnavailable):
            assert not is_blocked or is_attacked or "does not count" in caplog.text
        else:
            assert found >= story.least[actor]
            assert not is_blocked or is_attacked or "does not count" in caplog.text
    assert is_attacked or step == 2 or "generation" not in site.rejections
