"""How often one run of a module uses each of its parts, as far as the source of `forward` tells.

Calls in a loop of known length count as often as the loop runs, and of several branches the one
that uses a part most often counts. How often a loop of another kind runs is up to the data.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from math import inf, prod
from typing import Any

# Uses by the name of the part; infinite for an unknown number.
Uses = Mapping[str, float]

# Methods that use a part once; `samples` and `batch` use it more often.
_ONCE = ("acall", "forward", "stream")
_OFTEN = ("samples", "asamples", "batch")

_LOOPS = (ast.For, ast.AsyncFor)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)


def uses_by_forward(module: object, method: str = "forward") -> Uses:
    """Count the uses of a module's attributes in one run of its `forward`, or another method.

    Parts that the method does not name are left out: it may use them through other names.
    """
    forward = getattr(type(module), method, None)
    return {} if forward is None else _Reader(module, (method,)).method(forward)


@dataclass(frozen=True)
class _Reader:
    """Reads the methods of one module; `reading` are the names of those that it is inside of."""

    module: object
    reading: tuple[str, ...]

    def method(self, function: Any) -> Uses:
        parsed = parse_function(inspect.unwrap(function))
        if parsed is None or not parsed.args.args:
            return {}
        found = _Body(self, function, parsed.args.args[0].arg).block(parsed.body)
        marker = _calls_itself(self.reading[-1])
        if marker not in found:
            return found
        return _times({name: number for name, number in found.items() if name != marker}, inf)

    def inherited(self, name: str, caller: Any) -> Uses:
        """Count what `super().name(…)` uses in the method `caller`."""
        kinds = iter(type(self.module).__mro__)
        for kind in kinds:
            if any(item is caller for item in vars(kind).values()):
                break
        method = next((vars(kind)[name] for kind in kinds if name in vars(kind)), None)
        return self.method(method) if inspect.isfunction(method) else {}

    def call(self, name: str) -> Uses:
        """Count what a call of an attribute uses: the part itself, or what a method uses."""
        method = getattr(type(self.module), name, None)
        if not inspect.isfunction(method):
            return {name: 1}
        if name in self.reading:
            return {_calls_itself(name): 1}
        return _Reader(self.module, (*self.reading, name)).method(method)


@dataclass(frozen=True)
class _Body:
    """Reads the body of one method, whose first parameter is `own`.

    `given` says that it reads the arguments of a `Parallel`, which runs the parts named there.
    """

    reader: _Reader
    function: Any
    own: str
    given: bool = False

    def block(self, statements: Sequence[ast.stmt]) -> Uses:
        found: Uses = {}
        for number, statement in enumerate(statements):
            if isinstance(statement, ast.If) and _ends(statement.body):
                rest = self.block([*statement.orelse, *statements[number + 1 :]])
                either = _most([self.block(statement.body), rest])
                return _sum([found, self.node(statement.test), either])
            found = _sum([found, self.node(statement)])
        return found

    def node(self, node: ast.AST) -> Uses:
        if isinstance(node, ast.Call):
            return self.call(node)
        if self.given and isinstance(node, ast.Attribute) and self.is_own(node.value):
            return {node.attr: 1}
        if isinstance(node, _LOOPS):
            body = _times(self.block(node.body), self.length(node.iter))
            return _sum([self.node(node.iter), body, self.block(node.orelse)])
        if isinstance(node, ast.While):
            return _times(_sum([self.node(node.test), self.block(node.body)]), inf)
        if isinstance(node, _COMPREHENSIONS):
            return self.comprehension(node)
        if isinstance(node, ast.If | ast.IfExp | ast.Match):
            return self.branches(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return _times(self.children(ast.iter_child_nodes(node)), inf)
        return self.children(ast.iter_child_nodes(node))

    def comprehension(self, node: Any) -> Uses:
        items = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        first, *others = node.generators
        lengths = [self.length(generator.iter) for generator in node.generators]
        times = 0 if 0 in lengths else prod(lengths)
        repeated = _times(self.children([*items, *first.ifs, *others]), times)
        return _sum([self.node(first.iter), repeated])

    def children(self, nodes: Iterable[ast.AST]) -> Uses:
        return _sum([self.node(node) for node in nodes])

    def branches(self, node: ast.If | ast.IfExp | ast.Match) -> Uses:
        if isinstance(node, ast.If):
            return _sum([self.node(node.test), _most(map(self.block, (node.body, node.orelse)))])
        if isinstance(node, ast.IfExp):
            return _sum([self.node(node.test), _most(map(self.node, (node.body, node.orelse)))])
        cases = _most(self.block(case.body) for case in node.cases)
        return _sum([self.node(node.subject), cases])

    def call(self, node: ast.Call) -> Uses:
        called, times = node.func, 1.0
        given = replace(self, given=self.given or self.runs_programs(called))
        inside = given.children([*node.args, *node.keywords])
        if isinstance(called, ast.Attribute) and called.attr in (*_ONCE, *_OFTEN):
            if called.attr in _OFTEN:
                number = node.args[0] if node.args and called.attr != "batch" else None
                times = inf if number is None else self.number(number)
            called = called.value
        while isinstance(called, ast.Subscript):
            called = called.value
        if isinstance(called, ast.Attribute) and self.is_own(called.value):
            return _sum([inside, _times(self.reader.call(called.attr), times)])
        match node.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                return _sum([inside, self.reader.inherited(name, self.function)])
        return _sum([inside, self.node(node.func)])

    def runs_programs(self, called: ast.AST) -> bool:
        """Whether what is called is a `Parallel`."""
        match called:
            case ast.Attribute(value=value, attr="acall"):
                return self.runs_programs(value)
            case ast.Call(func=ast.Name(id="Parallel") | ast.Attribute(attr="Parallel")):
                return True
        return getattr(type(self.value(called)), "runs_programs", False)

    def is_own(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self.own

    def length(self, node: ast.AST) -> float:
        """How many items a loop goes through; infinite if unknown."""
        match node:
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                return len(items)
            case ast.Call(func=ast.Name(id="range"), args=[stop]):
                return max(0.0, self.number(stop))
            case ast.Call(func=ast.Name(id="range"), args=[start, stop]):
                return max(0.0, self.number(stop) - self.number(start, unknown=0))
            case ast.Call(func=ast.Name(id="enumerate" | "reversed" | "sorted"), args=[items, *_]):
                return self.length(items)
            case ast.Call(func=ast.Name(id="zip"), args=several) if several:
                return min(map(self.length, several))
        value = self.value(node)
        return len(value) if isinstance(value, list | tuple | dict | set | frozenset) else inf

    def number(self, node: ast.AST, *, unknown: float = inf) -> float:
        value = self.value(node)
        return value if isinstance(value, int) else unknown

    def value(self, node: ast.AST) -> Any:
        """The value of a constant, of a global name or of the module's attribute; else None."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return getattr(self.function, "__globals__", {}).get(name)
            case ast.Attribute(value=of, attr=name) if self.is_own(of):
                return inspect.getattr_static(self.reader.module, name, None)
        return None


@lru_cache(maxsize=1024)
def parse_function(function: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Parse the source of a function; None if there is none."""
    try:
        (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # there is no source, or it is strange
        return None
    return parsed if isinstance(parsed, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _calls_itself(method: str) -> str:
    """The mark of a method that calls itself: how often it does so is up to the data."""
    return f"{method}()"  # no part has such a name


def _ends(statements: Sequence[ast.stmt]) -> bool:
    return isinstance(statements[-1], _ENDS)


def _sum(several: Iterable[Uses]) -> Uses:
    def add(one: Uses, other: Uses) -> Uses:
        return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}

    return reduce(add, several, {})


def _most(several: Iterable[Uses]) -> Uses:
    def most(one: Uses, other: Uses) -> Uses:
        return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}

    return reduce(most, several, {})


def _times(uses: Uses, times: float) -> Uses:
    return {name: number * times for name, number in uses.items() if number and times}
