"""The processes of a site and their Redis, simulated request by request.

Requests come at random moments (a Poisson process) to random processes. What a request finds, and
what it begins, follows ``cache/tiers.py``, ``fetching/loader.py``, ``fetching/flights.py`` and
``fetching/leased_fetcher.py`` of the package, whose constants are used here. Nothing fails, each
call takes the same time, and a command of Redis takes none.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from math import ceil, inf, log, sqrt
from typing import TYPE_CHECKING

from benchmarks.capacity.plan import DEFAULTS
from benchmarks.capacity.tally import Tally
from instance_lookup.cache.generations import MARGIN
from instance_lookup.cache.pubsub import LULL
from instance_lookup.fetching.leased_fetcher import _FIRST_PAUSE, _LAST_PAUSE
from instance_lookup.fetching.loader import _AHEAD_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from benchmarks.capacity.plan import Plan

    Near = OrderedDict[int, float]
    """Until when an entry may be served from memory, by instance."""

_AT_ONCE = 4096


@dataclass(slots=True, eq=False)
class Flight:
    """A call of the Config Service that is under way."""

    asked: int
    process: int
    began: float
    ends: float
    followers: set[int] = field(default_factory=set)
    """Processes that wait for it."""
    tries: dict[int, float] = field(default_factory=dict)
    """When a process last asked for its lease in vain, to refresh ahead."""


class Fleet:
    """The processes, what each has in memory, and what Redis holds.

    An instance is a number, the most popular one is 0. Ids that do not exist come after the last
    instance. Times are in seconds since the fleet began.
    """

    def __init__(self, plan: Plan, dice: Random) -> None:
        """Begin with nothing in Redis and nothing in memory."""
        self.plan, self._dice = plan, dice
        self._rates = plan.rates
        self.now = 0.0
        many = len(self._rates)
        self.asked_at = [-inf] * many
        """When the service was asked for what Redis holds."""
        self._due_at = [inf] * many
        """From when on the next request refreshes it."""
        self._counts_from = -inf
        """What was asked for before counts no longer: all was invalidated then."""
        self._flights: dict[int, Flight] = {}
        self._landings: deque[Flight] = deque()
        self._near: list[Near] = [OrderedDict() for _ in range(plan.processes)]
        self._near_missing: list[Near] = [OrderedDict() for _ in range(plan.processes)]
        self._near_size = min(plan.near_size, DEFAULTS.near_cache_bytes // plan.document)
        self._asked = self._draws()
        self._to_warm = dice.sample(range(plan.instances), plan.instances)
        """In the order of their ids, which has nothing to do with how popular they are."""
        self._entry_life = ceil(plan.stale_max_age)
        fetching = ceil(plan.timeout + plan.negative_ttl)
        self._generation_lives = self._entry_life + MARGIN, fetching + MARGIN

    @property
    def entries(self) -> int:
        """How many instances have an entry in Redis, whether it counts or not."""
        since = self.now - self._entry_life
        return sum(asked_at > since for asked_at in self.asked_at[: self.plan.instances])

    def fill(self) -> None:
        """Have Redis hold what it does after a long time of this traffic.

        An entry is fetched again by the first request after it is due: in each cycle there is the
        time until it is due, and then the wait for a request, which is exponential. The age at a
        random moment is drawn from that; the longer of the two times is met more often.
        """
        random = self._dice.random
        for asked, rate in enumerate(self._rates):
            low, ttl = self._due_between(asked)
            mean = (low + ttl) / 2
            if random() < mean * rate / (1 + mean * rate):
                due = sqrt(low * low + random() * (ttl * ttl - low * low))
                age = random() * due
            else:
                due = low + random() * (ttl - low)
                age = due - log(1 - random()) / rate
            self.asked_at[asked] = self.now - age
            self._due_at[asked] = self.now - age + due

    def invalidate_all(self) -> None:
        """Let nothing count that was fetched so far, or is being fetched."""
        self._counts_from = self.now
        self._flights.clear()
        self._landings.clear()
        for near in (*self._near, *self._near_missing):
            near.clear()

    def run(self, seconds: int, *, warm_rate: float = 0.0) -> list[Tally]:
        """Go on for some seconds, and return what happened in each.

        With a ``warm_rate`` a command also fetches all instances, so many a second.
        """
        tallies = []
        to_warm = iter(self._to_warm if warm_rate else ())
        begun = 0
        for second in range(1, seconds + 1):
            tally = Tally()
            while begun < warm_rate * second and (asked := next(to_warm, None)) is not None:
                self._warm(asked, self.now + begun / warm_rate - (second - 1), tally)
                begun += 1
            self._second(tally)
            tallies.append(tally)
        return tallies

    def _second(self, tally: Tally) -> None:
        """Handle the requests of one second. This is where all the time goes."""
        random, rps, processes = self._dice.random, self.plan.rps, self.plan.processes
        nears, missing_nears, many = self._near, self._near_missing, self.plan.instances
        landings, asked_next = self._landings, self._asked.__next__
        now, end = self.now - log(1 - random()) / rps, self.now + 1
        while now < end:
            while landings and landings[0].ends <= now:
                self._land(landings.popleft())
            asked, process = asked_next(), int(random() * processes)
            near = (nears if asked < many else missing_nears)[process]
            tally.requests += 1
            if now < near.get(asked, -inf):
                near.move_to_end(asked)
                tally.near += 1
            else:
                self._ask(asked, process, near, now, tally)
            now -= log(1 - random()) / rps
        self.now = end

    def _ask(self, asked: int, process: int, near: Near, now: float, tally: Tally) -> None:
        """Handle a request that the near cache has no answer for."""
        is_missing = asked >= self.plan.instances
        asked_at = self.asked_at[asked]
        age = now - asked_at
        tally.reads += 1
        tally.found += not is_missing and age < self._entry_life
        counts = asked_at >= self._counts_from
        if counts and age < (self.plan.negative_ttl if is_missing else self.plan.ttl):
            tally.shared += 1
            self._put_near(asked, near, now)
            if now >= self._due_at[asked]:
                self._fetch_ahead(asked, process, now, tally)
        elif counts and not is_missing and age < self.plan.stale_max_age:
            flight = self._fetch(asked, process, now, tally)
            if flight is not None and flight.ends <= flight.began + self.plan.soft_timeout:
                tally.waited += 1
            else:
                tally.stale += 1
                tally.reads += 1  # before the copy is served: it may have been invalidated
                tally.found += 1
        else:
            tally.waited += 1
            self._fetch_absent(asked, process, now, tally)

    def _fetch_ahead(self, asked: int, process: int, now: float, tally: Tally) -> None:
        """Fetch an instance that is due, unless this process has just found that another does."""
        flight = self._flights.get(asked)
        if flight is not None and flight.process != process:
            if now - flight.tries.get(process, -inf) < _AHEAD_AGAIN:
                return
            flight.tries[process] = now
        self._fetch(asked, process, now, tally)

    def _fetch(self, asked: int, process: int, now: float, tally: Tally) -> Flight | None:
        """Fetch an instance of which there is a copy, unless another process does."""
        flight = self._flights.get(asked)
        if flight is None:
            return self._begin(asked, process, now, tally)
        if flight.process == process or process in flight.followers:
            tally.joined += 1
            return flight
        tally.followed += 1
        tally.marks += 1  # asked for the lease, in vain
        return None

    def _fetch_absent(self, asked: int, process: int, now: float, tally: Tally) -> None:
        """Fetch an instance of which there is no copy, or wait for the process that does."""
        flight, is_missing = self._flights.get(asked), asked >= self.plan.instances
        if flight is None:
            if now - self.asked_at[asked] >= self._generation_lives[is_missing]:
                # Its generation is gone, too: look again, write one, and read it back.
                tally.reads += 1
                tally.marks += 1
                tally.gets += 1
            self._begin(asked, process, now, tally)
        elif flight.process == process or process in flight.followers:
            tally.joined += 1
        else:
            flight.followers.add(process)
            tally.followed += 1
            tally.marks += 1
            looks = _looks(flight.ends - now)
            tally.gets += looks
            tally.reads += looks
            tally.found += not is_missing

    def _begin(self, asked: int, process: int, now: float, tally: Tally) -> Flight:
        """Call the service, and count what that takes of Redis, from the lease to the last look."""
        flight = Flight(asked, process, now, now + self.plan.service_time)
        self._flights[asked] = flight
        self._landings.append(flight)
        is_missing = asked >= self.plan.instances
        tally.calls += 1
        tally.marks += 1  # the lease
        tally.reads += 1  # another process may have been faster
        tally.deletes += 1  # the lease
        if is_missing:
            tally.gets += 2
            tally.marks += 2  # a new generation, and "does not exist" under it
            tally.publishes += 1
        else:
            tally.found += now - self.asked_at[asked] < self._entry_life
            tally.stores += 1
            tally.expires += 1
            tally.blocks += 1
        return flight

    def _land(self, flight: Flight) -> None:
        asked = flight.asked
        del self._flights[asked]
        self._store(asked, flight.began)
        nears = self._near if asked < self.plan.instances else self._near_missing
        nears[flight.process].pop(asked, None)
        for process in flight.followers:  # they have just read it
            self._put_near(asked, nears[process], flight.ends)

    def _store(self, asked: int, asked_at: float) -> None:
        low, ttl = self._due_between(asked)
        self.asked_at[asked] = asked_at
        self._due_at[asked] = asked_at + low + self._dice.random() * (ttl - low)

    def _due_between(self, asked: int) -> tuple[float, float]:
        """Return between which ages an entry becomes due for a new fetch."""
        if asked >= self.plan.instances:
            return self.plan.negative_ttl, self.plan.negative_ttl
        return self.plan.share * self.plan.ttl, self.plan.ttl

    def _put_near(self, asked: int, near: Near, now: float) -> None:
        """Keep what was read just now in memory, while it is fresh and not about to be due."""
        size = self._near_size if asked < self.plan.instances else self.plan.near_size
        if not size or now - self._counts_from <= LULL:
            return
        low, _ = self._due_between(asked)
        near[asked] = min(now + self.plan.near_ttl, self.asked_at[asked] + low)
        near.move_to_end(asked)
        if len(near) > size:
            near.popitem(last=False)

    def _warm(self, asked: int, now: float, tally: Tally) -> None:
        """Fetch an instance as ``warm_instance_cache`` does: whatever Redis holds, and no lease."""
        age = now - self.asked_at[asked]
        tally.calls += 1
        tally.reads += 2  # one more afterwards: was it kept?
        tally.found += 1 + (age < self._entry_life)
        if age >= self._generation_lives[0]:
            tally.marks += 1
            tally.gets += 1
        tally.stores += 1
        tally.expires += 1
        tally.blocks += 1
        self._store(asked, now)

    def _draws(self) -> Iterator[int]:
        """Yield what is asked for, one request after the other."""
        ids, thresholds = range(len(self._rates)), self.plan.thresholds
        while True:
            yield from self._dice.choices(ids, cum_weights=thresholds, k=_AT_ONCE)


def _looks(seconds: float) -> int:
    """Return how often a process looks at Redis that waits so long for another one."""
    looks, pause = 0, _FIRST_PAUSE
    while seconds > 0:
        looks += 1
        seconds -= pause
        pause = min(_LAST_PAUSE, 1.5 * pause)
    return looks
