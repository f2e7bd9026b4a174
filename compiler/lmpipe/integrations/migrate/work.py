"""`Work`: what is noted while a file is rewritten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from lmpipe.integrations.migrate.arguments import named_args, value_of
from lmpipe.integrations.migrate.kinds import Kinds
from lmpipe.integrations.migrate.optimizers import OPTIMIZERS
from lmpipe.integrations.migrate.rules import CALLS

_STATEMENTS = (
    *(cst.SimpleStatementLine, cst.FunctionDef, cst.ClassDef, cst.For, cst.While, cst.With),
    *(cst.If, cst.Try),
)


@dataclass(frozen=True, order=True)
class Note:
    """One thing that was rewritten, or that is left to do by hand.

    Args:
        line: in the file as it was, from 1.
        text: what it is.
    """

    line: int
    text: str


class Work:
    """The state of rewriting one file.

    Attributes:
        rewritten: what was rewritten.
        left: what is left to do by hand.
        comments: the comments to write above statements.
        kept: names of DSPy that stay, as they are imported; `.` if the module `dspy` stays.
        imports: lines of imports that the new code needs.
        constructed: the rewritten arguments of each optimizer, with DSPy's names.
    """

    def __init__(self, wrapper: MetadataWrapper) -> None:
        self.kinds = Kinds(wrapper)
        self.wrapper = wrapper
        self._positions = wrapper.resolve(PositionProvider)
        self.rewritten: set[Note] = set()
        self.left: set[Note] = set()
        self.comments: dict[cst.CSTNode, list[str]] = defaultdict(list)
        self.kept: set[str] = set()
        self.imports: set[str] = set()
        self.constructed: dict[cst.Call, tuple[tuple[str, cst.Arg], ...]] = {}

    def wrote(self, node: cst.CSTNode, text: str) -> None:
        """Note that something was rewritten."""
        self.rewritten.add(Note(self.line(node), text))

    def leave(self, node: cst.CSTNode, text: str) -> None:
        """Note what is left to do by hand, in the report and in a comment."""
        self.left.add(Note(self.line(node), text))
        statement: cst.CSTNode | None = node
        if not isinstance(node, _STATEMENTS):
            statement = self.kinds.around(node, *_STATEMENTS)
        if statement is not None and text not in self.comments[statement]:
            self.comments[statement].append(text)

    def keep(self, node: cst.CSTNode) -> None:
        """Note that a name of DSPy stays, so that its import does."""
        while isinstance(node, cst.Attribute):
            node = node.value
        self.kept.add(self.kinds.name_of(node) or ".")

    def line(self, node: cst.CSTNode) -> int:
        """Return the line of a node, from 1."""
        return int(self._positions[node].start.line)

    @cached_property
    def dspy_imports(self) -> str:
        """The imports of DSPy in the file, wherever they are."""
        found: list[str] = []
        module = self.wrapper.module

        class _Finds(cst.CSTVisitor):
            def visit_Import(self, node: cst.Import) -> None:
                found.append(module.code_for_node(node))

            def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
                found.append(module.code_for_node(node))

        module.visit(_Finds())
        return "\n".join(line for line in found if "dspy" in line)

    @cached_property
    def compiles(self) -> dict[cst.Call, list[cst.Call]]:
        """The calls of `compile` of each optimizer, by the call that makes it."""
        found: dict[cst.Call, list[cst.Call]] = defaultdict(list)
        for call in self._calls:
            match call.func:
                case cst.Attribute(value=owner, attr=cst.Name(value="compile")):
                    if self.kinds.of(owner) == "optimizer" and (made := self.kinds.made_by(owner)):
                        found[made].append(call)
        return found

    @cached_property
    def metrics(self) -> dict[str, cst.BaseExpression]:
        """The metrics of the file, by their code."""
        found: dict[str, cst.BaseExpression] = {}
        for call in self._calls:
            name = self.kinds.name_of(call.func)
            if name not in OPTIMIZERS and name != "Evaluate":
                continue
            rule = OPTIMIZERS.get(name) or CALLS[name]
            metric = value_of(named_args(call.args, rule.positions), "metric")
            if metric is not None:
                found[self.wrapper.module.code_for_node(metric)] = metric
        return found

    def is_metric(self, function: cst.FunctionDef) -> bool:
        """Whether a function is a metric of the file: it is used as one, or looks like one."""
        if function.name.value in self.metrics:
            return True
        names = [param.name.value for param in function.params.params]
        return len(names) in (3, 5) and names[2] == "trace"

    @cached_property
    def layout(self) -> str:
        """The name of the prompt adapter that the file configures, if it configures one."""
        for call in self._calls:
            if self.kinds.name_of(call.func) in ("configure", "settings.configure"):
                for arg in call.args:
                    if arg.keyword and arg.keyword.value == "adapter":
                        made = self.kinds.made_by(arg.value)
                        return self.kinds.name_of(made.func) if made else "?"
        return ""

    @cached_property
    def retriever(self) -> cst.BaseExpression | None:
        """What the file configures as the retriever of `dspy.Retrieve`, if it is one name."""
        given = [
            arg.value
            for call in self._calls
            if self.kinds.name_of(call.func) in ("configure", "settings.configure", "context")
            for arg in call.args
            if arg.keyword and arg.keyword.value == "rm"
        ]
        return given[0] if len(given) == 1 and isinstance(given[0], cst.Name) else None

    @cached_property
    def _calls(self) -> list[cst.Call]:
        found: list[cst.Call] = []

        class _Finds(cst.CSTVisitor):
            def visit_Call(self, node: cst.Call) -> None:
                found.append(node)

        self.wrapper.module.visit(_Finds())
        return found


# Rewrites a call, which is given as it was and with its parts rewritten.
Rewriting: TypeAlias = Callable[[Work, cst.Call, cst.Call], cst.BaseExpression]
