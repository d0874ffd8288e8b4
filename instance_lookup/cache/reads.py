"""The step of a lookup that reads the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.tiers import TieredCache  # a Struct's field

if TYPE_CHECKING:
    from instance_lookup.cache.reading import Reading

D = TypeVar("D", bound=Struct)


class Read(Struct, Generic[D], frozen=True):
    """The step of a lookup that reads the cache, in a thread or in an event loop."""

    cache: TieredCache[D]
    asked: str
    near: bool = True
    """Whether an entry in this process will do."""

    def run(self) -> Reading[D]:
        """Return what :meth:`TieredCache.read` does."""
        return self.cache.read(self.asked, near=self.near)

    async def arun(self) -> Reading[D]:
        """Return what :meth:`TieredCache.read` does, without blocking the event loop."""
        return await self.cache.aread(self.asked, near=self.near)
