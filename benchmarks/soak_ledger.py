"""What was asked, invalidated and disturbed in a soak, and which answers were wrong."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from benchmarks.soak_site import NEAR_TTL, RETRY_INTERVAL, STALE_MAX_AGE, TIMEOUT
from instance_lookup.cache.health import CACHE_SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLACK = 1.0
NEAR_BOUND = TIMEOUT + NEAR_TTL + SLACK
"""How long a process whose cache is down may answer from memory what another one invalidated."""
DOWN_FOR = CACHE_SKIPPED + SLACK
"""How long after its end an outage of Redis may still have a process skip the cache."""

RECOVERY = RETRY_INTERVAL + 10.0
"""How long after the end of an outage a tenant may still be refused because of it."""


@dataclass
class Ledger:
    """What all threads note in a soak. Times are monotonic."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    invalidations: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: int = 0
    """Invalidated versions within ``NEAR_BOUND`` while Redis was down: as documented."""
    _acknowledged: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _replaced: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    longest_refusal: float = 0.0
    """Seconds for which the owner of a tenant was refused, in the worst case of a calm time."""
    _refused_since: dict[str, float] = field(default_factory=dict)
    _outages: list[list[float]] = field(default_factory=list)
    _redis_outages: list[list[float]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def disturbed(self, what: str, *, redis: bool) -> Iterator[None]:
        """Note that something is disturbed, and for how long Redis is."""
        outage = [monotonic(), float("inf")]
        with self._lock:
            self.disturbances[what] += 1
            self._outages.append(outage)
            if redis:
                self._redis_outages.append(outage)
        try:
            yield
        finally:
            outage[1] = monotonic()

    @contextmanager
    def forgotten(self, what: str, *, redis: bool) -> Iterator[None]:
        """Note that idle connections end unnoticed: no reason to refuse anything.

        With those to Redis ends the subscription to invalidations, as in an outage of Redis.
        """
        moment = [monotonic(), float("inf")]
        with self._lock:
            self.disturbances[f"{what} forgotten"] += 1
            if redis:
                self._redis_outages.append(moment)
        yield
        moment[1] = monotonic()

    def owner_answered(self, tenant: str, began: float, *, refused: bool) -> None:
        """Note whether the owner of ``tenant`` was refused, who asked then."""
        with self._lock:
            if refused:
                self._refused_since.setdefault(tenant, began)
            since, now = self._refused_since.get(tenant, began), monotonic()
            if not _overlaps(self._outages, since - RECOVERY, now):
                self.longest_refusal = max(self.longest_refusal, now - since if refused else 0.0)
            if not refused:
                self._refused_since.pop(tenant, None)

    @property
    def is_well(self) -> bool:
        """Whether all answers were right, and no calm refusal took longer than a call may take."""
        return not self.wrong and self.longest_refusal <= TIMEOUT + SLACK

    def replaced(self, instance_id: str, version: int) -> None:
        """Note that the service has nothing older than ``version`` from now on."""
        with self._lock:
            self._replaced.setdefault(instance_id, []).append((monotonic(), version))

    def invalidated(self, versions: dict[str, int], outcome: str) -> None:
        """Note an invalidation; acknowledged (``"204"``), nothing older may come after it."""
        with self._lock:
            self.invalidations[outcome] += 1
            if outcome == "204":
                for instance_id, version in versions.items():
                    acknowledged = self._acknowledged.setdefault(instance_id, [])
                    acknowledged.append((monotonic(), version))

    def answered(self, kind: str, began: float, *, failed: bool) -> None:
        """Note an answer, or that there was none."""
        took = monotonic() - began
        with self._lock:
            self.latencies.append(took)
            (self.failures if failed else self.answers)[kind] += 1

    def is_wrong(self, what: str) -> None:
        """Note an answer that no client should ever get."""
        with self._lock:
            self.wrong.append(what)

    def check(self, instance_id: str, version: int, began: float) -> None:
        """Judge the version that a request got which began then."""
        with self._lock:
            invalid = self._floor(self._acknowledged.get(instance_id, ()), began)
            aged = self._floor(
                self._replaced.get(instance_id, ()), began - STALE_MAX_AGE - TIMEOUT - SLACK
            )
            if version < aged[1]:
                self.wrong.append(f"{instance_id} {version} is older than {STALE_MAX_AGE} s")
            elif version < invalid[1]:
                self._judge(instance_id, version, began)

    def _judge(self, instance_id: str, version: int, began: float) -> None:
        """Excuse it if every invalidation it survived is fresh, and Redis was down since."""
        survived = [at for at, new in self._acknowledged[instance_id] if version < new]
        at = min(survived)
        if began < at + NEAR_BOUND and _overlaps(self._redis_outages, at - DOWN_FOR, began):
            self.late += 1
            return
        ago = f"{began - at:.3f} s"
        self.wrong.append(f"{instance_id} {version} was invalidated {ago} before it was asked")

    @staticmethod
    def _floor(notes: Sequence[tuple[float, int]], until: float) -> tuple[float, int]:
        return next((note for note in reversed(notes) if note[0] <= until), (0.0, 0))


def _overlaps(outages: Sequence[Sequence[float]], start: float, end: float) -> bool:
    return any(begin < end and start < over for begin, over in outages)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def report(ledger: Ledger, *, seconds: float, calls: int, recovery: float | None) -> str:
    """Return what came of the soak, for people."""
    requests = len(ledger.latencies)
    times = [(name, percentile(ledger.latencies, p)) for name, p in _PERCENTILES.items()]
    recovered = "NOT RECOVERED" if recovery is None else f"{recovery:.1f} s after the last outage"
    lines = {
        "requests": f"{requests} in {seconds:.0f} s",
        "answers": _counts(ledger.answers),
        "failures": _counts(ledger.failures),
        "calls to the service": f"{calls}, {1000 * calls / max(requests, 1):.1f} per 1,000",
        "disturbances": _counts(ledger.disturbances),
        "invalidations": _counts(ledger.invalidations),
        "answered late": f"{ledger.late}, within {NEAR_BOUND:.0f} s while Redis was down",
        "latency": ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in times),
        "longest refusal": f"{ledger.longest_refusal:.1f} s of a tenant, in calm times",
        "all tenants well": recovered,
        "wrong answers": str(len(ledger.wrong)),
    }
    text = [f"{name + ':':22}{value}" for name, value in lines.items()]
    return "\n".join([*text, *ledger.wrong[:10]])


_PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"
