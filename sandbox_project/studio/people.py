"""The people of the story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASSWORD: Final = "sandbox"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who can log in."""

    name: str
    about: str
    default_instance_id: str = ""
    is_admin: bool = False

    @property
    def token(self) -> str:
        """The token for the API, made up for the sandbox like the password."""
        return f"sandbox-token-of-{self.name}"


# In an empty database they get the user ids 1, 2, …, by which the Config Service knows the owners.
ADMIN: Final = Person("admin", "may use every instance", "no-owner", is_admin=True)
OWNER: Final = Person("owner", "owns studio-a, and starts there", "studio-a")
NEIGHBOUR: Final = Person("neighbour", "owns studio-b, and starts there", "studio-b")
STRANGER: Final = Person("stranger", "owns nothing, and starts nowhere")
PEOPLE: Final = (ADMIN, OWNER, NEIGHBOUR, STRANGER)


def user_id(person: Person) -> str:
    """Return the id of a person in a database that was seeded when it was empty."""
    return str(PEOPLE.index(person) + 1)
