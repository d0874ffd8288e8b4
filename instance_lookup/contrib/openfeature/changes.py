"""What has changed of the flags: invalidations, by this process and by others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from openfeature.event import ProviderEventDetails

from instance_lookup.registry import get_resolver
from instance_lookup.signals import instance_invalidated

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

logger = logging.getLogger("instance_lookup")


class Changes:
    """Calls ``tell`` with each change, from :meth:`start` to :meth:`stop`.

    An invalidation of this process is told at once. Where this process listens to those of others,
    for its near cache, they are told as well, and its own a second time.
    """

    def __init__(self, tell: Callable[[ProviderEventDetails], object]) -> None:
        self._tell = tell
        self._is_told = False

    def start(self) -> None:
        """Tell from now on."""
        self._is_told = True
        instance_invalidated.connect(self._on_invalidated)

    def stop(self) -> None:
        """Tell no longer."""
        self._is_told = False
        instance_invalidated.disconnect(self._on_invalidated)

    def listen(self) -> None:
        """Hear what other processes invalidate, where this process listens to that anyhow.

        Call it with each flag: in a child the thread that listens has to be started again.
        """
        if (channel := get_resolver().cache.tiers.near.channel) is not None:
            channel.listen(self)

    @property
    def ids(self) -> re.Pattern[str]:
        """What an id matches in full."""
        return get_resolver().settings.id_regex

    def hear(self, kind: str | None, asked: str | None) -> None:
        """Tell of what the channel says is invalidated; ``None`` for both: everything."""
        if kind != "project":
            self._changed(asked)

    def doubt(self) -> None:
        """Tell that all may have changed: an invalidation may have been missed."""
        self._changed(None)

    def _on_invalidated(self, instance_id: str | None, **kwargs: object) -> None:
        self._changed(instance_id)

    def _changed(self, instance_id: str | None) -> None:
        if not self._is_told:
            return
        details = ProviderEventDetails()
        if instance_id is not None:
            details.metadata["instance_id"] = instance_id
        try:
            self._tell(details)
        except Exception:
            # Older releases of the SDK run the handlers here, in the thread of the channel; newer
            # ones have no thread for them when the process ends.
            logger.exception("A handler of OpenFeature's events failed; lookups are not affected.")
