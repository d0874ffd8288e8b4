"""What a team would pick instead. One module for each library, used as its documentation says."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


def load(name: str) -> Any:
    """Import the module for one library. Raise ``ModuleNotFoundError`` where it is missing."""
    return import_module(f"benchmarks.peers.{name}")


def build_all(makers: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], tuple[str, ...]]:
    """Make the contenders whose library is installed; return the others with what they lack."""
    contenders: dict[str, T] = {}
    missing: list[str] = []
    for name, make in makers.items():
        try:
            contenders[name] = make()
        except ModuleNotFoundError as exc:
            missing.append(f"{name} (no {exc.name})")
    return contenders, tuple(missing)
