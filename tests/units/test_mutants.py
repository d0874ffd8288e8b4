"""The list of changes that no test notices, and the program that holds mutmut's findings to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from instance_lookup import access, identifiers, resolver
from tests.mutants.__main__ import ACCEPTED, Mutant, mutant_of, read_accepted

SHOWN = """# instance_lookup.identifiers.xǁSubdomainIdentifierǁidentify__mutmut_11: survived
--- instance_lookup/identifiers.py
+++ instance_lookup/identifiers.py
@@ -1,3 +1,3 @@
 def identify(self):
-    label = 1
+    label = 2
     return label
"""


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("m.identifiers.xǁSubdomainIdentifierǁidentify__mutmut_11", "SubdomainIdentifier.identify"),
        ("m.identifiers.x__url_kwarg__mutmut_7", "_url_kwarg"),
        ("m.identifiers.xǁPolicyǁ__bool____mutmut_2", "Policy.__bool__"),
    ],
)
def test_mutant_of(name: str, function: str) -> None:
    """A change is known by its function and its lines, not by its number."""
    found = mutant_of(name, SHOWN)
    assert found == Mutant(f"m.identifiers.{function}", "label = 1", "label = 2")


def test_accepted_have_reasons() -> None:
    """Each change that is accepted says why, and is of a function that is there."""
    accepted = read_accepted(ACCEPTED.read_text())
    assert accepted
    for mutant in accepted:
        module, _, inside = mutant.function.removeprefix("instance_lookup.").partition(".")
        assert module in {"access", "identifiers", "resolution", "resolver"}
        assert inside
        assert mutant.was != mutant.becomes


def test_accepted_without_a_reason() -> None:
    """A change that nobody can say why to accept is not accepted."""
    entry = "[[mutant]]\nfunction = 'f'\nwas = 'a'\nbecomes = 'b'\nwhy = ' '\n"
    with pytest.raises(ValueError, match="accepted without a reason"):
        read_accepted(entry)


def test_accepted_changes_are_of_lines_that_are_there() -> None:
    """A line that was changed since is taken out of the list: its change is another one."""
    for mutant in read_accepted(ACCEPTED.read_text()):
        assert _is_there(mutant), mutant


def _is_there(mutant: Mutant) -> bool:
    root = Path(access.__file__).parents[1]
    sources = [*root.glob("access/*.py"), *root.glob("resolution/*.py")]
    sources += [Path(identifiers.__file__), Path(resolver.__file__)]
    lines = {line.strip() for path in sources for line in path.read_text().splitlines()}
    return all(line in lines for line in mutant.was.splitlines())
