"""``&``, ``|`` and ``~`` of permission classes that look an instance up.

DRF's own know yes and no only. A lookup may also fail: then one operand cannot decide, and another
one may. They also lose ``message`` and ``code``, and negate what must not be negated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Never

from django.http import Http404
from rest_framework.permissions import (
    AND,
    OR,
    BasePermission,
    BasePermissionMetaclass,
    OperandHolder,
    SingleOperandHolder,
)

from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.request.attributes import lookup_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request
    from rest_framework.views import APIView

    from instance_lookup.types import InstanceConfig

    Ask = Callable[[Any], bool]


class ComposableMetaclass(BasePermissionMetaclass, OperandHolder, SingleOperandHolder):
    """Metaclass of the permission classes that compose with ``|`` and ``&``.

    In "a | b" Python asks b first if b's class derives from that of a. So this metaclass derives
    from the classes of DRF's permission classes and compositions.
    """

    __init__ = type.__init__
    __call__ = type.__call__
    __eq__ = type.__eq__
    __hash__ = type.__hash__

    def __and__(self, other: Any) -> Any:
        return _composed(AllPermissions, "&", self, other)

    def __rand__(self, other: Any) -> Any:
        return _composed(AllPermissions, "&", other, self)

    def __or__(self, other: Any) -> Any:
        return _composed(AnyPermission, "|", self, other)

    def __ror__(self, other: Any) -> Any:
        return _composed(AnyPermission, "|", other, self)

    def __invert__(self) -> Never:
        """Refuse: the negation would let in strangers and callers who are not logged in."""
        raise TypeError(
            f"~{self.__name__} would let in everyone who may not use the instance; use "
            "HasInstanceFeature(..., enabled=False) for a feature that must be off"
        )


@lru_cache  # "get_permissions" of a view may compose the same ones for each request
def _composed(base: type[Composition], sign: str, left: Any, right: Any) -> type[Composition]:
    """Return the class that stands for two permission classes, or compositions of such."""
    names = (getattr(operand, "__name__", "(...)") for operand in (left, right))
    operands = {"op1_class": left, "op2_class": right}
    composed: type[Composition] = ComposableMetaclass(
        f"({f' {sign} '.join(names)})", (base,), operands
    )
    return composed


class LogsRefusals(BasePermission, metaclass=ComposableMetaclass):
    """Has the log say why a permission refused: once, however it is composed."""

    is_operand = False
    """Whether it is part of a composition, which logs what the parts come to."""
    refused: tuple[InstanceConfig, Callable[[], str]] | None = None
    """What it refused last, and the function that says why."""

    def note(self, request: Request, config: InstanceConfig, why: Callable[[], str]) -> None:
        """Note that it refused ``config`` in ``request``; ``why`` is called for the log only."""
        self.refused = config, why
        if not self.is_operand:
            lookup_for(request).log_refusal(config, why)


class Composition(LogsRefusals):
    """Two permissions as one. A refusal carries the message of the operand that has one."""

    op1_class: Any
    op2_class: Any
    message: str | None = None
    code: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.op1 = self.op1_class(*args, **kwargs)
        self.op2 = self.op2_class(*args, **kwargs)
        for operand in (self.op1, self.op2):
            if isinstance(operand, LogsRefusals):
                operand.is_operand = True

    def _note(self, request: Request, *operands: Any) -> None:
        """Note the refusals of the operands as one. Where there is none, others have refused."""
        refused = [found for each in operands if (found := getattr(each, "refused", None))]
        if refused:
            config, _ = refused[0]
            self.note(request, config, lambda: "; ".join(why() for _, why in refused))

    def _refuse(self, request: Request, *operands: Any) -> bool:
        self._note(request, *operands)
        for operand in operands:
            if message := getattr(operand, "message", None):
                self.message, self.code = message, getattr(operand, "code", None)
                break
        return False


class AllPermissions(Composition, AND):
    """Allows what both allow. A refusal counts more than an error of the other operand."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask both."""
        return self._decide(request, lambda operand: operand.has_permission(request, view))

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        """Ask both about ``obj``; ``request`` and ``view`` are passed on to them."""
        return self._decide(
            request, lambda operand: operand.has_object_permission(request, view, obj)
        )

    def _decide(self, request: Request, ask: Ask) -> bool:
        undecided: InstanceLookupError | None = None
        for operand in (self.op1, self.op2):
            try:
                if not ask(operand):
                    return self._refuse(request, operand)
            except InstanceLookupError as exc:
                undecided = undecided or exc
        if undecided is not None:
            raise undecided
        return True


class AnyPermission(Composition, OR):
    """Allows what one of the two allows. Where neither does, an error of one is the answer."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask until one allows it."""
        return self._decide(request, lambda operand: operand.has_permission(request, view))

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        """Ask until one allows ``obj``. That one has to allow the ``request`` as well.

        ``view`` handles the request; it is passed on to them.
        """
        return self._decide(
            request,
            lambda operand: (
                operand.has_permission(request, view)
                and operand.has_object_permission(request, view, obj)
            ),
        )

    def _decide(self, request: Request, ask: Ask) -> bool:
        undecided: InstanceLookupError | None = None
        concealed: Http404 | None = None
        for operand in (self.op1, self.op2):
            try:
                if ask(operand):
                    return True
            except InstanceLookupError as exc:
                undecided = undecided or exc
            except Http404 as exc:  # a refusal that does not say so
                concealed = concealed or exc
        if error := undecided or concealed:
            if error is concealed:
                self._note(request, self.op1, self.op2)
            raise error
        return self._refuse(request, self.op1, self.op2)
