"""Coroutines that want something at the same moment share a look, in a thread of ours."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from instance_lookup.concurrency import pools
from instance_lookup.concurrency.coalescing import BatchedReads

if TYPE_CHECKING:
    from collections.abc import Collection

LONG = 30


class Source:
    """A cache: a look finds keys that begin with "a", a read also those that begin with "b"."""

    def __init__(self) -> None:
        self.looks: list[list[str]] = []
        self.reads: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.looking = threading.Event()

    def look(self, keys: Collection[str]) -> dict[str, str]:
        self._wait()
        self.looks.append(list(keys))
        if "broken" in keys:
            raise LookupError("broken")
        return {key: f"seen {key}" for key in keys if key.startswith("a")}

    def read(self, key: str) -> str:
        self._wait()
        self.reads.append(key)
        if key == "broken":
            raise LookupError("broken")
        return f"read {key}"

    def _wait(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.looking.set()
        assert self.gate.wait(LONG)


@pytest.fixture
def source() -> Source:
    return Source()


class Getting:
    """A gathering on a source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.gathering = BatchedReads[str]()

    async def get(self, key: str) -> str:
        return await self.gathering.get(key, self.source.look, self.source.read)


@pytest.fixture
def gathering(source: Source) -> Getting:
    return Getting(source)


async def all_of(gathering: Getting, *keys: str) -> list[str]:
    return await asyncio.wait_for(asyncio.gather(*map(gathering.get, keys)), LONG)


async def test_one_look_for_all(gathering: Getting, source: Source) -> None:
    """Several keys asked for at once are looked up together, in one of our threads."""
    found = await all_of(gathering, "a1", "a2", "a1", "a3")
    assert found == ["seen a1", "seen a2", "seen a1", "seen a3"]
    assert (source.looks, source.reads) == ([["a1", "a2", "a3"]], [])
    assert source.threads == {"instance-lookup"}


async def test_one_key_is_read(gathering: Getting, source: Source) -> None:
    """A single key is read without a look, however many callers want it."""
    assert await all_of(gathering, "a1", "a1") == ["read a1"] * 2
    assert (source.looks, source.reads) == ([], ["a1"])


async def test_what_a_look_does_not_find_is_read(gathering: Getting, source: Source) -> None:
    """Each key that the look does not find is read once."""
    assert await all_of(gathering, "a1", "b1", "b2", "b1") == [
        "seen a1",
        "read b1",
        "read b2",
        "read b1",
    ]
    assert sorted(source.reads) == ["b1", "b2"]


async def test_what_is_found_does_not_wait_for_what_is_not(
    gathering: Getting, source: Source
) -> None:
    """Found keys do not wait for the keys that must be read."""
    release = threading.Event()
    original = source.read

    def slow(key: str) -> str:
        assert release.wait(LONG)
        return original(key)

    source.read = slow  # type: ignore[method-assign]
    found, missing = (asyncio.create_task(gathering.get(key)) for key in ("a1", "b1"))
    assert await asyncio.wait_for(found, LONG) == "seen a1"
    assert not missing.done()
    release.set()
    assert await asyncio.wait_for(missing, LONG) == "read b1"


async def test_no_more_than_so_many_in_one_look(gathering: Getting, source: Source) -> None:
    """A look has a limit of keys; a single last key is read instead."""
    keys = [f"a{number}" for number in range(129)]
    assert len(await all_of(gathering, *keys)) == 129
    assert [len(look) for look in sorted(source.looks)] == [64, 64]
    assert source.reads == ["a128"]


async def test_whoever_comes_later_is_looked_up_later(gathering: Getting, source: Source) -> None:
    """A key asked for during a look is not answered by that look."""
    source.gate.clear()
    first = [asyncio.create_task(gathering.get(key)) for key in ("a1", "a2")]
    await asyncio.to_thread(source.looking.wait, LONG)
    second = [asyncio.create_task(gathering.get(key)) for key in ("a1", "a2")]
    await asyncio.sleep(0)
    source.gate.set()
    await asyncio.wait_for(asyncio.gather(*first, *second), LONG)
    assert source.looks == [["a1", "a2"]] * 2


async def test_whoever_leaves_leaves_the_others_alone(gathering: Getting, source: Source) -> None:
    """A caller that is cancelled ends neither the read nor the answers of the others."""
    source.gate.clear()
    tasks = [asyncio.create_task(gathering.get(key)) for key in ("a1", "a1", "a2")]
    await asyncio.to_thread(source.looking.wait, LONG)
    tasks[0].cancel()
    tasks[2].cancel()
    source.gate.set()
    assert await asyncio.wait_for(tasks[1], LONG) == "seen a1"
    assert all(task.cancelled() for task in (tasks[0], tasks[2]))


async def test_errors(gathering: Getting) -> None:
    """When a look fails the keys are read; an error of a read reaches the callers of that key."""
    found = await asyncio.gather(
        *map(gathering.get, ("a1", "broken", "broken")), return_exceptions=True
    )
    assert found[0] == "read a1"
    assert [str(error) for error in found[1:]] == ["broken"] * 2


async def test_no_more_threads(gathering: Getting, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started all callers get the error at once."""

    def submit(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pools.event_loops, "submit", submit)
    errors = await asyncio.gather(*map(gathering.get, ("a1", "a2")), return_exceptions=True)
    assert [str(error) for error in errors] == ["can't start new thread"] * 2


def test_loop_that_is_closed_meanwhile(source: Source, gathering: Getting) -> None:
    """The read of a closed loop is dropped, and the next loop starts its own."""
    source.gate.clear()

    async def leave() -> None:
        task = asyncio.create_task(gathering.get("a1"))
        await asyncio.to_thread(source.looking.wait, LONG)
        task.cancel()

    asyncio.run(leave())
    source.gate.set()
    assert asyncio.run(all_of(gathering, "a1", "a2")) == ["seen a1", "seen a2"]


def test_loops_of_several_threads(gathering: Getting) -> None:
    """Each event loop gathers its own keys."""
    keys = [f"a{number}" for number in range(10)]

    def crowd(_: int) -> list[str]:
        return asyncio.run(all_of(gathering, *keys))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(crowd, range(8))) == [[f"seen {key}" for key in keys]] * 8
    assert gathering.gathering._next == {}


class Empty(LookupError):
    """An error that is false."""

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("error", "raised"), [(Empty("e"), Empty), (SystemExit(3), RuntimeError)], ids=["false", "exit"]
)
async def test_any_error_comes_out(
    gathering: Getting, source: Source, error: BaseException, raised: type[Exception]
) -> None:
    """Any error reaches the caller, and SystemExit in a worker does not end the caller's thread."""

    def fail(key: str) -> str:
        raise error

    source.read = fail  # type: ignore[method-assign]
    with pytest.raises(raised):
        await asyncio.wait_for(gathering.get("b1"), LONG)


async def test_error_that_nobody_waits_for(gathering: Getting, source: Source) -> None:
    """An error that no caller waits for causes no warning of asyncio."""
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about))
    source.gate.clear()
    task = asyncio.create_task(gathering.get("broken"))
    await asyncio.to_thread(source.looking.wait, LONG)
    task.cancel()
    await asyncio.wait([task])
    source.gate.set()
    await asyncio.wait_for(gathering.get("b1"), LONG)
    await asyncio.sleep(0.05)
    gc.collect()
    assert said == []


async def test_whoever_fails_to_begin_is_in_nobodys_way(
    gathering: Getting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a caller fails to start the look, the next caller starts one."""
    loop = asyncio.get_running_loop()

    def fail(*args: object) -> None:
        raise RecursionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon", fail)
        with pytest.raises(RecursionError):
            gathering.get("a1").send(None)
    assert await asyncio.wait_for(gathering.get("a1"), LONG) == "read a1"


async def test_nothing_is_left_to_set_off(gathering: Getting, source: Source) -> None:
    """With nothing to read, for example after the caller failed, the next read works."""
    gathering.gathering._set_off(asyncio.get_running_loop())
    assert await gathering.get("a1") == "read a1"
