"""How many examples a property is tried with, and which."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck
from hypothesis import settings as profile

if TYPE_CHECKING:
    from hypothesis import settings

ASKED_FOR = int(os.environ.get("INSTANCE_LOOKUP_EXAMPLES", "0"))


def tried(examples: int) -> settings:
    """Return the profile of a property: the same ``examples`` each time, or new ones if asked for.

    Without a time limit: the machine may be busy with other things. Fixtures are made once for all
    examples, so a property leaves nothing behind that another example would see.
    """
    return profile(
        max_examples=ASKED_FOR or examples,
        derandomize=not ASKED_FOR,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
