"""What the code of a module does with its parts, as far as its source tells."""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.compiling.program_check.read_code import CodeUse, PartUse, read_code


class Base(lmpipe.Module):
    def __init__(self) -> None:
        self.write = lmpipe.Predict("question -> query, plan")
        self.read = lmpipe.Predict("query -> answer")


def use_of(kind: type[lmpipe.Module]) -> CodeUse:
    found = read_code(kind())
    assert found is not None
    return found


def write_in(kind: type[lmpipe.Module]) -> PartUse:
    return use_of(kind).parts["write"]


class Reads(Base):
    def forward(self, question: str) -> Any:
        found = self.write(question=question)
        return self.read(query=found.query)


class ReadsAtOnce(Base):
    def forward(self, question: str) -> Any:
        return self.write(question=question).query


class Awaits(Base):
    async def forward(self, question: str) -> Any:
        return (await self.write.acall(question=question)).query


class InAMethod(Base):
    def forward(self, question: str) -> Any:
        return self._write(question)

    def _write(self, question: str) -> Any:
        return self.write(question=question).query


class InAProperty(Base):
    def forward(self, question: str) -> Any:
        return self._written.query

    @property
    def _written(self) -> Any:
        return self.write(question="?")


class Super(Reads):
    def forward(self, question: str) -> Any:
        return super().forward(question)


class PassesOn(Base):
    def forward(self, question: str) -> Any:
        found = self.write(question=question)
        return [found]


class Unpacks(Base):
    def forward(self, **inputs: str) -> Any:
        return self.write(**inputs).query


class Samples(Base):
    def forward(self, question: str) -> Any:
        return self.write.samples(2, question=question)


class NamesIt(Base):
    def forward(self, question: str) -> Any:
        step = self.write
        return step(question=question)


class UsesAll(Base):
    def forward(self, question: str) -> Any:
        return [step(question=question) for step in vars(self).values()]


class Checks(Base):
    def forward(self, question: str) -> Any:
        found = self.write(question=question)
        lmpipe.check(len(found.query) < 9, "Be short.", of=found)
        return found.query


class Drops(Base):
    def forward(self, question: str, *, style: str = "", _hidden: int = 0) -> Any:
        self.write(question=question)


def test_fields_that_are_read_are_known() -> None:
    for kind in (Reads, ReadsAtOnce, Awaits, InAMethod, Super):
        part = write_in(kind)
        assert (part.read, part.whole) == ({"query"}, False), kind
        assert [set(call.given) for call in part.calls] == [{"question"}]


def test_a_result_that_is_passed_on_is_used_as_a_whole() -> None:
    for kind in (PassesOn, Samples, NamesIt, InAProperty):
        assert write_in(kind).whole, kind


def test_a_check_of_a_result_does_not_use_it_as_a_whole() -> None:
    assert not write_in(Checks).whole
    assert write_in(Checks).read == {"query"}


def test_a_result_that_is_dropped_reads_nothing() -> None:
    part = write_in(Drops)
    assert (part.read, part.whole) == (set(), False)


def test_a_call_whose_arguments_are_unpacked_is_not_complete() -> None:
    (call,) = write_in(Unpacks).calls
    assert not call.complete


def test_parts_that_are_not_named_are_left_out() -> None:
    assert set(use_of(ReadsAtOnce).parts) == {"write"}
    assert not use_of(ReadsAtOnce).everything


def test_a_module_that_is_used_as_a_whole_may_use_any_part() -> None:
    assert use_of(UsesAll).everything


def test_parameters_that_are_not_used_are_known() -> None:
    assert use_of(Drops).ignored == ["style"]
    assert use_of(Reads).ignored == []


def test_code_without_a_source_is_not_read() -> None:
    made: dict[str, Any] = {"Base": Base}
    exec("class Made(Base):\n    def forward(self):\n        return self.write()", made)
    assert read_code(made["Made"]()) is None
