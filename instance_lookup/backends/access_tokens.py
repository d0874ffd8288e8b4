"""Access tokens for the Config Service: they expire, and are fetched again in time."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from requests.auth import AuthBase

from instance_lookup.backends.headers import NOT_VISIBLE_ASCII
from instance_lookup.bearer import Credential
from instance_lookup.concurrency.forks import Guarded
from instance_lookup.frozen import hide
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest

EARLY = 60.0
"""Seconds before its end from which on a token is replaced; a fifth of its life if that is less."""
PAUSE = 5.0
"""Seconds until the next try, where a token is still good and there was no other."""


class NoToken(OSError):
    """There is no token to send. The message names what failed, and quotes nothing."""


class _Held(NamedTuple):
    """A token, when to look for another one, and when it ends, on the monotonic clock."""

    token: Credential
    replace_at: float
    ends_at: float


_NONE = _Held(Credential(), 0.0, 0.0)


class AccessTokens(Guarded, AuthBase):
    """Sends ``Authorization: Bearer <token>``: for ``session.auth`` in ``make_session``.

    A token is fetched before the first call, and again a minute before it ends, by one thread.
    While it is good the others go on with it; else they wait, each as long as its own call may
    take. When the service answers 401 a call is made once more, with another token. The session has
    to be the one that ``HttpConfigService.make_session`` returns. No ``repr``, log or error shows a
    token.
    """

    def __init__(self, fetch: Callable[[Deadline], tuple[str, float]]) -> None:
        """``fetch(deadline)`` returns a new token, and for how many seconds it is good.

        It has to keep to ``deadline.remaining()`` seconds. If it raises anything, there is no
        answer of the service; the log has the class of that, and not its text.
        """
        super().__init__()
        self._fetch = fetch
        self._held = _NONE
        self._failed_at = 0.0
        self._failure = ""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Leave the ``request`` as it is: it gets its token when it is sent, by its deadline."""
        return request

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def authorize(self, request: PreparedRequest, deadline: Deadline) -> None:
        """Add a good token to the ``request``. Raise :class:`NoToken` by the ``deadline``."""
        held, now = self._held, monotonic()
        if now >= held.ends_at:
            held = self._another(held, deadline)
        elif now >= held.replace_at:
            held = self._another_early(held, deadline)
        request.headers["Authorization"] = held.token

    def reauthorize(self, request: PreparedRequest, deadline: Deadline) -> None:
        """Give a ``request`` that was refused another token. Raise :class:`NoToken`.

        ``deadline`` is that of the whole call.
        """
        held = self._held
        if held.token == request.headers["Authorization"]:  # else another thread has been here
            held = self._another(held, deadline)
        request.headers["Authorization"] = held.token

    def _another(self, old: _Held, deadline: Deadline) -> _Held:
        """Return what replaces ``old``. Of threads that come together one fetches it.

        They share its failure as well: a hundred would ask one after the other. Not one for want of
        time: each has its own, and does not wait for longer.
        """
        came, lock = monotonic(), self._lock
        if not lock.acquire(timeout=deadline.remaining()):
            raise NoToken("no access token in time")
        try:
            if self._held is old:
                if self._failed_at > came:
                    raise NoToken(self._failure)
                self._held = self._fetched(deadline)
            return self._held
        finally:
            lock.release()

    def _another_early(self, held: _Held, deadline: Deadline) -> _Held:
        """Return what replaces ``held``, or that itself, which is still good."""
        lock = self._lock
        if not lock.acquire(blocking=False):
            return held
        try:
            if self._held is held:
                # The other half is for the call itself.
                self._held = self._fetched(Deadline.after(deadline.remaining() / 2))
        except NoToken:
            self._held = held._replace(replace_at=monotonic() + PAUSE)
        finally:
            lock.release()
        return self._held

    def _fetched(self, deadline: Deadline) -> _Held:
        began = monotonic()
        try:
            token, seconds = map(hide, self._fetch(deadline))  # this frame may be shown
            ends_at = began + (life := float(seconds))
            if math.isnan(life):  # it would be good for ever
                raise ValueError
            if len(token) > 0 and not NOT_VISIBLE_ASCII.search(token):
                held = Credential("Bearer " + token[:])
                return _Held(held, ends_at - min(EARLY, life / 5), ends_at)
            failure = "no access token: a header cannot carry it"
        except Exception as exc:  # noqa: BLE001  # of the project's own
            failure = f"no access token: {type(exc).__name__}"
        if deadline.remaining():  # else it may be this call that had too little time
            self._failure, self._failed_at = failure, monotonic()
        # Not in the handler: the error, or its frames, may hold what was answered.
        raise NoToken(failure)
