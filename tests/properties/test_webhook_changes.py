"""In each order of changes, deliveries and outages, nothing from before a delivery is served."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from django.core.cache import caches
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceNotFound,
    LookupContext,
    LookupUser,
    get_resolver,
)
from tests.properties.profile import tried
from tests.support.webhook import Service, deliver, event, refreshed, site

OLGA = LookupUser("olga")
TYPES = ("instance.updated", "instance.deleted", "instance.revoked")


class Sent(NamedTuple):
    """A delivery of the service, which may come late, twice, or not at all."""

    version: int
    """The version of the configuration that the service had when it was sent."""
    invalidates: bool
    delivery: Any


class Changes(RuleBasedStateMachine):
    """One instance whose bucket is its version; the service tells of each change."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.service = Service()
        # The failures of one instance would otherwise keep it from being asked for.
        options: dict[str, Any] = {
            "BREAKER_FAILURES": 10**6,
            "MISS_BUDGET": None,
            "RETRY_INTERVAL": 1e-6,
        }
        self.stack.enter_context(site(service=self.service, **options))
        caches["default"].clear()
        self.version = 0
        self.not_before = 0
        """The oldest version that may be served while the service can be asked."""
        self.never_before = 0
        """The oldest version that may be served at all."""
        self.gone: list[int] = []
        """The versions at which the instance did not exist."""
        self.sent: list[Sent] = []
        self.heard: set[str] = set()
        self._write()

    def teardown(self) -> None:
        refreshed()
        self.stack.close()
        caches["default"].clear()

    @rule(event_type=st.sampled_from(TYPES), restores=st.booleans())
    def change(self, event_type: str, restores: bool) -> None:
        self.version += 1
        if event_type == "instance.updated" or restores:
            self._write()
        else:
            self.service.instances = {}
            self.gone.append(self.version)
        sent = event(event_type)
        self.sent.append(Sent(self.version, event_type != "instance.updated", sent))

    @rule(down=st.booleans())
    def switch(self, down: bool) -> None:
        self.service.is_down = down

    @rule(at=st.integers(0, 5), is_async=st.booleans())
    def deliver(self, at: int, is_async: bool) -> None:
        """Deliver one of the last changes, in any order and any number of times."""
        if not self.sent:
            return
        one = self.sent[-1 - at % len(self.sent)]
        assert deliver(one.delivery, is_async=is_async).status_code == 204
        refreshed()
        name = one.delivery.headers["webhook-id"]
        if name in self.heard:  # a second one has no effect, so it is owed nothing
            return
        self.heard.add(name)
        # What is asked for after it is at least what the service had when it was delivered.
        self.not_before = max(self.not_before, self.version)
        if one.invalidates:
            self.never_before = max(self.never_before, self.version)

    @rule(bit=st.integers(0, 7), at=st.integers(0, 200))
    def forge(self, bit: int, at: int) -> None:
        """Deliver what someone without the secret has changed, or signed."""
        sent = event("instance.deleted")
        place = at % len(sent.body)
        changed = bytes([sent.body[place] ^ (1 << bit)])
        body = sent.body[:place] + changed + sent.body[place + 1 :]
        assert deliver(sent._replace(body=body)).status_code in {400, 401, 403}

    @invariant()
    def serves_nothing_from_before(self) -> None:
        oldest = self.never_before if self.service.is_down else self.not_before
        try:
            found = get_resolver().resolve(LookupContext(OLGA, instance_id="acme"))
        except InstanceNotFound:
            assert any(version >= oldest for version in self.gone)
        except ConfigServiceUnavailable:
            assert self.service.is_down
        else:
            assert oldest <= int(found.config.r2_bucket) <= self.version

    def _write(self) -> None:
        fields = {"metadata": {"owner": "olga"}, "r2_bucket": str(self.version)}
        self.service.instances = {"acme": fields}


def test_changes_and_deliveries() -> None:
    """Whatever comes late, twice, forged or in an outage: what a delivery ends is not served."""
    run_state_machine_as_test(Changes, settings=tried(25))
