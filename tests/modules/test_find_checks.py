"""Which programs have checks, as far as their code tells."""

from __future__ import annotations

import functools

import pytest

import lmpipe
from lmpipe import check as assure
from lmpipe import suggest
from lmpipe.modules import Ensemble
from lmpipe.modules.find_checks import kinds_of_checks
from lmpipe.modules.function import PredictFunction


class Plain(lmpipe.Module):
    def forward(self) -> int:
        return 1


class ByModule(lmpipe.Module):
    def forward(self) -> None:
        lmpipe.check(True, "x")


class ByAnotherName(lmpipe.Module):
    def forward(self) -> None:
        assure(True, "x")


class InAMethod(lmpipe.Module):
    def forward(self) -> None:
        self.look()

    def look(self) -> None:
        suggest(True, "x")


class InALambda(lmpipe.Module):
    def forward(self) -> None:
        (lambda: assure(True, "x"))()


class InAProperty(lmpipe.Module):
    @property
    def looked(self) -> bool:
        return suggest(True, "x")


class InAStaticMethod(lmpipe.Module):
    @staticmethod
    def look() -> None:
        assure(True, "x")


class ImportedInside(lmpipe.Module):
    def forward(self) -> None:
        from lmpipe import check

        check(True, "x")


def helper() -> None:
    deeper()


def deeper() -> None:
    assure(True, "x")


class InAHelper(lmpipe.Module):
    def forward(self) -> None:
        helper()


def noted(function):  # type: ignore[no-untyped-def]
    @functools.wraps(function)
    def inner(*args, **kwargs):  # type: ignore[no-untyped-def]
        return function(*args, **kwargs)

    return inner


class Decorated(lmpipe.Module):
    @noted
    def forward(self) -> None:
        assure(True, "x")


class Declared(lmpipe.Module):
    max_backtracks = 2


class Mixin:
    def look(self) -> None:
        assure(True, "x")


class WithMixin(Mixin, lmpipe.Module):
    pass


class Inherited(ByModule):
    pass


class CallsSuper(ByModule):
    def forward(self) -> None:
        super().forward()


class Both(lmpipe.Module):
    def forward(self) -> None:
        lmpipe.check(True, "x")
        lmpipe.suggest(True, "x")


class Overrides(ByModule):
    def forward(self) -> None:
        pass


class OwnMethodOfThatName(lmpipe.Module):
    def forward(self) -> None:
        self.check()

    def check(self) -> None:
        pass


@pytest.mark.parametrize(
    "program",
    [
        ByModule,
        ByAnotherName,
        InAMethod,
        InALambda,
        InAProperty,
        InAStaticMethod,
        ImportedInside,
        InAHelper,
        Decorated,
        WithMixin,
        Inherited,
        CallsSuper,
    ],
)
def test_a_check_is_found(program: type[lmpipe.Module]) -> None:
    assert kinds_of_checks(program, lmpipe.Module) == 1


@pytest.mark.parametrize("program", [Both, Declared])
def test_both_kinds_are_found(program: type[lmpipe.Module]) -> None:
    assert kinds_of_checks(program, lmpipe.Module) == 2


OF_LMPIPE = [lmpipe.Predict, lmpipe.ChainOfThought, Ensemble, PredictFunction]


@pytest.mark.parametrize("program", [Plain, Overrides, OwnMethodOfThatName, *OF_LMPIPE])
def test_no_check_is_found(program: type[lmpipe.Module]) -> None:
    assert kinds_of_checks(program, lmpipe.Module) == 0


def test_a_class_in_a_function_is_read_with_what_the_function_holds() -> None:
    look = assure

    class Local(lmpipe.Module):
        def forward(self) -> None:
            look(True, "x")

    assert kinds_of_checks(Local, lmpipe.Module) == 1
