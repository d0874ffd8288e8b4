"""Invalidations, told to the near caches of all processes by the pub/sub of Redis or Valkey.

What is sent are ids, never values. A process that cannot be sure to hear of each invalidation
serves nothing from its near cache for longer than a second.
"""

from __future__ import annotations

from contextlib import closing, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from django.core.cache import caches

from instance_lookup import events
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.kinds import KIND_NAMES
from instance_lookup.cache.redis_client import client_of
from instance_lookup.concurrency.forks import Guarded, check
from instance_lookup.concurrency.threads import start_daemon
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    import re
    from threading import Thread

DOUBTFUL = 1.0
"""Seconds for which an entry may be served without proof that invalidations are heard."""
_PULSE = 0.2
"""Seconds between two PINGs, which prove that the subscription works."""
_PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds until the next try, after the first failure, the second, …"""
LULL = 0.05
"""Seconds for which nothing is kept in memory after all was forgotten. Further messages that mean
"all" find nothing to forget in that time: however many come, they are told of once in a LULL."""
EVERYTHING = "*"


class Hears(Protocol):
    """What is told of invalidations, by the thread of a :class:`Channel`."""

    @property
    def ids(self) -> re.Pattern[str]:
        """What an id matches in full. A message that names no id of any hearer means all."""

    def hear(self, kind: str | None, asked: str | None) -> None:
        """Forget an id of a ``kind``; ``None`` for both: everything."""

    def doubt(self) -> None:
        """Forget everything read so far: an invalidation may have been missed."""


class Channel(Guarded):
    """The channel of one cache alias, as this process hears it. Made by :func:`channel_of`.

    The lock protects ``_hearers`` and ``_thread``: one thread listens, however many ask for it.
    ``sure_until`` is written by that thread only, and read without the lock.
    """

    sure_until: float
    """By the monotonic clock: until then each invalidation older than a second is known here."""
    _thread: Thread | None

    def __init__(self, alias: str, name: str, server: str) -> None:
        """Speak on the channel ``name`` of the cache ``alias``; the log calls it ``server``."""
        super().__init__()
        self.name = name
        self._alias = alias
        self._health = Health("The subscription to invalidations")
        self._publishing = Health("Publishing invalidations")
        self._server = server
        self._hearers: WeakSet[Hears] = WeakSet()

    @property
    def deaf_since(self) -> float | None:
        """Unix time since when invalidations are not heard; ``None``: they are, or not yet."""
        return self._health.since.get("")

    @property
    def can_publish(self) -> bool:
        """Whether the server took the last message that was published, if there was any."""
        return not self._publishing.failing

    def publish(self, kind: str, asked: str | None) -> bool:
        """Tell all processes; return whether the server took it. If not, the log says so, once.

        The change itself is written before, and holds: what other processes have in memory they
        serve for ``NEAR_CACHE_TTL`` at most. Often the user of the server may not ``PUBLISH``.
        """
        message = EVERYTHING if asked is None else f"{kind}:{asked}"
        try:
            key_values[self._alias].publish(self.name, message.encode(errors="surrogatepass"))
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            reason = type(exc).__name__
            self._publishing.failed(
                reason,
                f"Invalidations are written, but not published to {self._server} ({reason}): other"
                " processes may serve what they have in memory for NEAR_CACHE_TTL more. Check that"
                f" the user of CACHES[{self._alias!r}] may PUBLISH on {self.name!r}.",
            )
            return False
        self._publishing.ok(
            line=f"Publishing invalidations to {self._server} again; all processes hear of them."
        )
        return True

    @property
    def is_deaf(self) -> bool:
        """Whether it listens, and cannot be sure to hear of each invalidation."""
        return self._thread is not None and monotonic() >= self.sure_until

    def listen(self, hearer: Hears) -> None:
        """Tell ``hearer`` of invalidations from now on. Starts the one thread, if none runs."""
        check()
        if self._thread is None or hearer not in self._hearers:
            with self._lock:
                self._hearers.add(hearer)
                if self._thread is None:
                    name = f"instance-lookup-{self._alias}"
                    # Without the thread entries are used for DOUBTFUL seconds; lookups go on.
                    with suppress(RuntimeError):
                        self._thread = start_daemon(name, self._run)

    def _run(self) -> None:
        pauses = iter(_PAUSES)
        while self._hearers:
            try:
                self._hear()
            except UnicodeError:  # a client that decodes by itself cannot get past such a message
                self._doubt()
                self._tell(None, None)
                sleep(LULL)
            except Exception as exc:  # noqa: BLE001  # whatever the backend raises
                pauses = iter(_PAUSES) if self._doubt() else pauses
                self._health.failed(
                    "down",
                    f"Not receiving invalidations from {self._server} ({type(exc).__name__});"
                    f" in-memory copies are used for {DOUBTFUL:g} s at most.",
                )
                sleep(next(pauses, _PAUSES[-1]))
        # A hearer added since the last look is left without a thread until it calls "listen" again,
        # with each entry that it keeps. Until then "sure_until" runs out, so nothing old is served.
        with self._lock:
            self._thread = None

    def _hear(self) -> None:
        """Listen until something fails, or until no listener is left."""
        with closing(client_of(caches[self._alias]).pubsub()) as pubsub:
            pubsub.subscribe(self.name)
            came = asked = monotonic()
            pubsub.ping(str(asked))
            all_told, is_all_due = 0.0, False
            while self._hearers:
                message = pubsub.get_message(timeout=LULL if is_all_due else _PULSE)
                now = monotonic()
                match message and message["type"]:
                    case "subscribe":  # also again, where the client has reconnected by itself
                        self._tell_doubt()
                    case "pong":
                        # From when the PING was sent: the server sends in order, so what was
                        # published before the PING reached it has come before this answer.
                        self.sure_until = float(message["data"] or 0) + DOUBTFUL
                        self._health.ok(line=self._is_back)
                    case "message":
                        is_all_due = not self._tell_named(message["data"]) or is_all_due
                # The first of a flood at once, the others together after a LULL: in that time no
                # hearer keeps anything, nor afterwards what it began to read then.
                if is_all_due and now - all_told >= LULL:
                    all_told, is_all_due = now, False
                    self._tell(None, None)
                if message:  # not only a PONG, which comes late behind a flood
                    came = now
                if now - came > DOUBTFUL:
                    raise TimeoutError("no answer on the subscription")
                if now - asked >= _PULSE:
                    asked = now
                    pubsub.ping(str(asked))

    def _tell_named(self, data: bytes | str) -> bool:
        """Tell of the id that a message names; return whether it names one that can be here."""
        named = _named(data)
        hearers = self._those_who_hear()
        if named is None or not any(each.ids.fullmatch(named[1]) for each in hearers):
            return False
        self._tell(*named)
        return True

    @property
    def _is_back(self) -> str:
        return (
            f"Receiving invalidations from {self._server} again; in-memory copies are used for"
            " NEAR_CACHE_TTL again."
        )

    def _doubt(self) -> bool:
        """Have entries dropped and no longer trusted; tell whether the channel worked until now."""
        was_sure = bool(self.sure_until)
        # First this: from here on no entry is served for longer than DOUBTFUL after its read.
        self.sure_until = 0.0
        self._tell_doubt()
        return was_sure

    def _tell(self, kind: str | None, asked: str | None) -> None:
        if events.watchers:
            events.tell(events.Invalidation(kind or "all", "heard"))
        for hearer in self._those_who_hear():
            hearer.hear(kind, asked)

    def _tell_doubt(self) -> None:
        for hearer in self._those_who_hear():
            hearer.doubt()

    def _those_who_hear(self) -> tuple[Hears, ...]:
        with self._lock:  # another thread may add a hearer meanwhile, which breaks the iteration
            return tuple(self._hearers)

    def _start_over(self) -> None:
        super()._start_over()
        self.sure_until = 0.0
        self._thread = None


def publish(alias: str, kind: str, asked: str | None) -> bool:
    """Tell all processes that an id of a ``kind`` changed; ``asked`` ``None``: all of both kinds.

    Return whether they will hear of it: also true where the cache ``alias`` has no pub/sub, since
    then no process expects to.
    """
    channel = channel_of(alias)
    return channel is None or channel.publish(kind, asked)


def channel_of(alias: str) -> Channel | None:
    """Return the channel of a cache alias, ``None`` where its backend has no pub/sub."""
    cache = caches[alias]
    client = client_of(cache)
    if client is None:
        return None
    name = f"{cache.key_prefix}:instance_invalidations"
    # "setdefault" is one step: of two channels made at the same moment one is used. No lock, which
    # a fork could leave locked.
    return _channels.setdefault((alias, name), Channel(alias, name, _server_of(client)))


def channels() -> tuple[Channel, ...]:
    """Return the channels that this process has used so far."""
    return tuple(_channels.values())


def _server_of(client: Any) -> str:
    """Return where the server of a client is, for people: never a user name or password."""
    is_valkey = any(base.__module__.startswith("valkey") for base in type(client).__mro__)
    name = "Valkey" if is_valkey else "Redis"
    pool = getattr(client, "connection_pool", None)
    if primary := getattr(pool, "service_name", None):
        return f"{name}, primary {primary!r} of Sentinel"
    options = getattr(pool, "connection_kwargs", {})
    if path := options.get("path"):
        return f"{name} at {path}"
    host = str(options.get("host", "localhost"))
    return f"{name} at {f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"


def _named(data: bytes | str) -> tuple[str, str] | None:
    """Return the kind and the id in a message, ``None`` where it is of another form."""
    try:
        text = data if isinstance(data, str) else data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    kind, _, asked = text.partition(":")
    return (kind, asked) if asked and kind in KIND_NAMES else None


_channels: dict[tuple[str, str], Channel] = {}
