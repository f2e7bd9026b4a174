"""What the names of a DSPy file stand for: predictors, results, optimizers, examples and so on.

A name is looked up where it is assigned, in the function around and then in the file. What is not
found there has no kind, and is left as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, TypeAlias

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, QualifiedNameProvider

from lmpipe.integrations.migrate.optimizers import OPTIMIZERS
from lmpipe.integrations.migrate.rules import LAYOUTS, PREDICTORS

Kind = Literal[
    "predictor",
    "predictors",
    "result",
    "results",
    "program class",
    "optimizer",
    "evaluator",
    "example",
    "lm",
    "history",
    "retriever",
    "found",
    "parallel",
    "adapter",
    "tool",
]

_MADE_BY: dict[str, Kind] = {
    **dict.fromkeys(PREDICTORS, "predictor"),
    **dict.fromkeys(OPTIMIZERS, "optimizer"),
    **dict.fromkeys(LAYOUTS, "adapter"),
    "Evaluate": "evaluator",
    "Example": "example",
    "Prediction": "result",
    "LM": "lm",
    "History": "history",
    "Retrieve": "retriever",
    "Embeddings": "retriever",
    "Parallel": "parallel",
    "Tool": "tool",
}
_CALLED: dict[Kind, Kind] = {
    "predictor": "result",
    "program class": "predictor",
    "retriever": "found",
    "parallel": "results",
}
_ITEM: dict[Kind, Kind] = {"predictors": "predictor", "results": "result"}
_LIST: dict[Kind, Kind] = {item: plural for plural, item in _ITEM.items()}

# A kind, and the call of DSPy's class that made the value, if it is known.
Found: TypeAlias = tuple[Kind | None, cst.Call | None]

# The packages that DSPy's public names are in, besides `dspy` itself.
_PACKAGES = (
    "teleprompt",
    "predict",
    "primitives",
    "signatures",
    "adapters",
    "clients",
    "retrievers",
)


def dspy_name(qualified: str) -> str:
    """Return DSPy's public name for a qualified one, or the empty string for other names."""
    package, _, name = qualified.partition(".")
    if package not in ("dspy", "dsp") or not name:
        return ""
    parts = name.split(".")
    if parts[0] in _PACKAGES and len(parts) > 1:
        return parts[-1]
    if parts[0] == "evaluate" and len(parts) > 1:
        return "Evaluate" if parts[-1] == "Evaluate" else f"evaluate.{parts[-1]}"
    return name


class Kinds:
    """Says what an expression of a file stands for.

    Args:
        wrapper: the parsed file.
    """

    def __init__(self, wrapper: MetadataWrapper) -> None:
        self._qualified = wrapper.resolve(QualifiedNameProvider)
        self._parents: Mapping[cst.CSTNode, cst.CSTNode] = wrapper.resolve(ParentNodeProvider)
        self.classes: dict[str, cst.ClassDef] = {}
        self._values: dict[tuple[cst.CSTNode, str], list[tuple[cst.BaseExpression, bool]]]
        self._values = defaultdict(list)
        # The names that are being looked up, which may be assigned in terms of themselves.
        self._open: set[tuple[cst.CSTNode, str]] = set()
        wrapper.module.visit(_Assignments(self))

    def name_of(self, node: cst.CSTNode) -> str:
        """Return DSPy's public name of what an expression names; empty for other names."""
        if not _is_path(node):
            return ""
        names = self._qualified.get(node, ())
        if callable(names):  # LibCST finds them when they are needed
            names = names()
        for name in sorted(item.name for item in names):
            if found := dspy_name(name):
                return found
        return ""

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node."""
        return self._parents.get(node)

    def around(self, node: cst.CSTNode, *types: type[cst.CSTNode]) -> cst.CSTNode | None:
        """Return the nearest node of these types around a node."""
        found = self.parent(node)
        while found is not None and not isinstance(found, types):
            found = self.parent(found)
        return found

    def add(self, target: cst.BaseExpression, value: cst.BaseExpression, *, item: bool) -> None:
        """Note an assignment; with `item`, the target is an item of the value."""
        if text := _text(target):
            self._values[self._scope(target, text), text].append((value, item))

    def assigned_in(self, node: cst.CSTNode, text: str) -> bool:
        """Whether the function around a node, or the file if there is none, assigns a name."""
        scope = self.around(node, cst.FunctionDef, cst.Module)
        return scope is not None and bool(self._values.get((scope, text)))

    def of(self, node: cst.BaseExpression) -> Kind | None:
        """Return the kind of an expression, or None."""
        return self._of(node)[0]

    def made_by(self, node: cst.BaseExpression) -> cst.Call | None:
        """Return the call of DSPy's class that made the value of an expression."""
        return self._of(node)[1]

    def _scope(self, node: cst.CSTNode, text: str) -> cst.CSTNode:
        kinds = (cst.ClassDef,) if "." in text else (cst.FunctionDef,)
        scope = self.around(node, *kinds, cst.Module)
        assert scope is not None
        return scope

    def _of(self, node: cst.BaseExpression) -> Found:
        match node:
            case cst.Await(expression=inner):
                return self._of(inner)
            case cst.Call():
                return self._of_call(node)
            case cst.Subscript(value=value):
                return self._item(self._of(value)[0])
            case cst.ListComp(elt=element):
                return self._list(element)
            case cst.List(elements=[cst.BaseElement(value=element), *_]):
                return self._list(element)
            case cst.Tuple(elements=[cst.BaseElement(value=element), *_]):
                return self._list(element)
            case cst.Dict(elements=[cst.DictElement(value=element), *_]):
                return self._list(element)
            case cst.Name() | cst.Attribute():
                return self._of_name(node)
        return None, None

    def _of_call(self, node: cst.Call) -> Found:
        if made := _MADE_BY.get(self.name_of(node.func)):
            return made, node
        function = node.func
        if isinstance(function, cst.Attribute):
            owner, method = self._of(function.value), function.attr.value
            if owner[0] == "optimizer" and method == "compile":
                return "predictor", None
            if method in ("deepcopy", "reset_copy", "with_inputs", "copy", "without"):
                return owner
            if owner[0] == "predictor" and method in ("acall", "forward", "aforward"):
                return "result", None
            if owner[0] == "predictor" and method == "batch":
                return "results", None
            if owner[0] == "predictors" and method == "values":
                return owner
        called = self._of(function)[0]
        return (_CALLED.get(called) if called else None), None

    def _of_name(self, node: cst.Name | cst.Attribute) -> Found:
        text = _text(node)
        if not text:
            return None, None
        scope: cst.CSTNode | None = self._scope(node, text)
        module = self.around(node, cst.Module)
        while scope is not None:
            found = self._assigned(scope, text)
            if found[0] is not None:
                return found
            if scope is module or (isinstance(scope, cst.FunctionDef) and text in _params(scope)):
                break
            scope = self.around(scope, cst.FunctionDef, cst.Module)
        if isinstance(node, cst.Name) and node.value in self.classes and scope is module:
            return self._of_class(self.classes[node.value]), None
        return None, None

    def _assigned(self, scope: cst.CSTNode, text: str) -> Found:
        """The kind of what a name is given in a scope: the first of its values that has one."""
        if (scope, text) in self._open:
            return None, None
        self._open.add((scope, text))
        try:
            for value, item in self._values.get((scope, text), ()):
                found = self._of(value)
                if found[0] is not None:
                    return self._item(found[0]) if item else found
            return None, None
        finally:
            self._open.remove((scope, text))

    def _of_class(self, node: cst.ClassDef) -> Kind | None:
        key = node, node.name.value
        if key in self._open:  # a class whose base has its name
            return None
        self._open.add(key)
        try:
            bases = [base.value for base in node.bases]
            found = any(
                self.name_of(base) == "Module" or self._of(base)[0] == "program class"
                for base in bases
            )
            return "program class" if found else None
        finally:
            self._open.remove(key)

    def is_program(self, node: cst.ClassDef) -> bool:
        """Whether a class is a `dspy.Module`."""
        return self._of_class(node) == "program class"

    def is_signature(self, node: cst.ClassDef) -> bool:
        """Whether a class is a `dspy.Signature`."""
        names = [base.value for base in node.bases]
        return any(
            self.name_of(name) == "Signature"
            or (
                isinstance(name, cst.Name)
                and name.value in self.classes
                and self.classes[name.value] is not node
                and self.is_signature(self.classes[name.value])
            )
            for name in names
        )

    def _item(self, kind: Kind | None) -> Found:
        return (_ITEM.get(kind) if kind else None), None

    def _list(self, element: cst.BaseExpression) -> Found:
        kind = self._of(element)[0]
        return (_LIST.get(kind) if kind else None), None


class _Assignments(cst.CSTVisitor):
    """Notes the assignments, loops and classes of a file."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    def visit_Assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self._kinds.add(target.target, node.value, item=False)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self._kinds.add(node.target, node.value, item=False)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._kinds.add(node.target, node.value, item=False)

    def visit_For(self, node: cst.For) -> None:
        self._loop(node)

    def visit_CompFor(self, node: cst.CompFor) -> None:
        self._loop(node)

    def _loop(self, node: cst.For | cst.CompFor) -> None:
        target, values = node.target, node.iter
        if isinstance(target, cst.Tuple) and isinstance(values, cst.Call) and values.args:
            named = values.func.value if isinstance(values.func, cst.Name) else ""
            if named == "enumerate" and len(target.elements) == 2:
                self._kinds.add(target.elements[1].value, values.args[0].value, item=True)
            return
        self._kinds.add(target, values, item=True)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._kinds.classes.setdefault(node.name.value, node)


def _params(function: cst.FunctionDef) -> set[str]:
    """The names of the parameters of a function."""
    declared = function.params
    return {param.name.value for param in (*declared.params, *declared.kwonly_params)}


def _is_path(node: cst.CSTNode) -> bool:
    """Whether a node is a name with attributes, such as `dspy.evaluate.Evaluate`."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return isinstance(node, cst.Name)


def _text(node: cst.BaseExpression) -> str:
    """Write a name, or an attribute of `self`; anything else gives the empty string."""
    match node:
        case cst.Name(value=name):
            return name
        case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
            return f"self.{name}"
    return ""
