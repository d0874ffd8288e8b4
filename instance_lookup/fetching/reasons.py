"""What each reason for "no usable answer" means: for which ids, for how long, and what to do."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple


class Meaning(NamedTuple):
    """What follows from a reason (``ConfigServiceUnavailable.details["reason"]``)."""

    advice: str
    """What to do, for the log."""
    is_there: bool = False
    """Whether the service is up and answers. Then the circuit breaker does not count it."""
    is_of_one: bool = False
    """Whether it concerns one id only."""
    is_of_one_user: bool = False
    """Whether it concerns the user that it was asked for only: others ask for themselves."""
    is_lasting: bool = False
    """Whether it lasts until a person acts. Then it is logged as an ERROR."""
    is_until_a_document: bool = False
    """Whether only a document ends it, not an answer of any kind."""
    without_copy: int = 503
    """Status where the cache holds no copy."""


EVERYTHING_GONE = "everything_gone"
"""The service answers 404 for everything. This is not believed of ids with a copy."""
RATE_LIMITED = "rate_limited"
"""The service answers 429: this user has asked for this too often."""
_PASSING = Meaning("It is asked again by itself.")
_MEANINGS = MappingProxyType(
    {
        "client_error": Meaning(
            "It refuses our question: check CONFIG_SERVICE_URL, and the service's own log.",
            is_there=True,
            is_of_one=True,
            is_lasting=True,
        ),
        "credential": Meaning(
            "Check CONFIG_SERVICE_TOKEN, or what fetches tokens or signs calls.", is_lasting=True
        ),
        EVERYTHING_GONE: Meaning(
            "If these instances are really deleted, invalidate them. If not, check"
            " CONFIG_SERVICE_URL and the service.",
            is_there=True,
            is_lasting=True,
            is_until_a_document=True,
            without_copy=404,
        ),
        "not_the_service": Meaning(
            "Check CONFIG_SERVICE_URL, and what stands in front of the service.",
            is_lasting=True,
            is_until_a_document=True,
        ),
        RATE_LIMITED: Meaning(
            "It is asked again by itself; its limit may be too low for this site.",
            is_there=True,
            is_of_one=True,
            is_of_one_user=True,
        ),
        "redirect": Meaning("Redirects are not followed: check CONFIG_SERVICE_URL."),
        "rejected": Meaning(
            "Correct what the service answers (docs/reference/config-service.md has the rules), or"
            " path_of and parse of your own backend.",
            is_there=True,
            is_of_one=True,
        ),
        "timeout": Meaning("Check that the service is up, and CONFIG_SERVICE_TIMEOUT."),
        "unreachable": Meaning("Check that the service is up, and CONFIG_SERVICE_URL."),
    }
)


def meaning_of(reason: str) -> Meaning:
    """Return what follows from a reason; backends may have reasons of their own."""
    return _MEANINGS.get(reason, _PASSING)
