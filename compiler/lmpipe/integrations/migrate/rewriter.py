"""`Rewriter`: rewrites the tree of a DSPy file, from the leaves up."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeVar

import libcst as cst
from libcst.helpers import get_full_name_for_node

from lmpipe.integrations.migrate.arguments import parsed, text_of
from lmpipe.integrations.migrate.calls import rewrite_call
from lmpipe.integrations.migrate.kinds import dspy_name
from lmpipe.integrations.migrate.optimizers import OPTIMIZERS
from lmpipe.integrations.migrate.rules import BY_HAND, CALLS, LAYOUTS, MUTATIONS, RENAMED
from lmpipe.integrations.migrate.work import Work

_WIDTH = 100
_PLACES = (cst.Import, cst.ImportFrom, cst.ImportAlias, cst.Param, cst.FunctionDef, cst.ClassDef)

Statement = TypeVar(
    "Statement",
    cst.SimpleStatementLine,
    cst.FunctionDef,
    cst.ClassDef,
    cst.For,
    cst.While,
    cst.With,
    cst.If,
    cst.Try,
)


class Rewriter(cst.CSTTransformer):
    """Rewrites what it knows, and notes the rest in its `Work`.

    Args:
        work: what is known of the file, and where notes go.
        kept: the names of DSPy that an earlier pass left, whose imports stay.
    """

    def __init__(self, work: Work, kept: frozenset[str]) -> None:
        self.work = work
        self.kept = kept
        self._removed: list[cst.CSTNode] = []
        self._has_import = False

    # Names

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if self._is_only_a_word(original_node):
            return updated_node
        return self._rename(original_node, updated_node)

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.BaseExpression:
        parent = self.work.kinds.parent(original_node)
        if isinstance(parent, cst.Attribute) and self.work.kinds.name_of(parent):
            return updated_node  # the inside of a longer name
        if self.work.kinds.name_of(original_node):
            return self._rename(original_node, updated_node)
        return self._attribute_of_value(original_node, updated_node)

    def _is_only_a_word(self, node: cst.Name) -> bool:
        """Whether a name is that of an attribute, an argument or a definition."""
        parent = self.work.kinds.parent(node)
        if isinstance(parent, cst.Attribute):
            return parent.attr is node or bool(self.work.kinds.name_of(parent))
        if isinstance(parent, cst.Arg):
            return parent.keyword is node
        return isinstance(parent, _PLACES) and getattr(parent, "default", None) is not node

    def _rename(
        self, original: cst.Name | cst.Attribute, updated: cst.Name | cst.Attribute
    ) -> cst.BaseExpression:
        kinds = self.work.kinds
        name, parent = kinds.name_of(original), kinds.parent(original)
        if not name:
            return updated
        called = isinstance(parent, cst.Call) and parent.func is original
        if called and (name in CALLS or name in OPTIMIZERS or name in RENAMED):
            return updated  # renamed with the arguments of the call
        if name == "Prediction":
            if called:
                return updated
            self.work.wrote(original, name)
            noted = kinds.around(original, cst.Annotation) is not None
            return cst.parse_expression("lmpipe.Prediction" if noted else "lmpipe.Signature")
        if name == "evaluate.answer_exact_match" and not called:
            self.work.wrote(original, name)
            return cst.parse_expression('lmpipe.metrics.normalized_match("answer")')
        if name in RENAMED:
            self.work.wrote(original, name)
            return cst.parse_expression(f"lmpipe.{RENAMED[name]}")
        base, _, method = name.partition(".")
        if called and (base in RENAMED or name in _CALLED_NAMES):
            return updated
        if base in RENAMED:  # such as dspy.Code["python"], dspy.Image.from_file
            return updated.with_changes(value=cst.parse_expression(f"lmpipe.{RENAMED[base]}"))
        if name in LAYOUTS:
            if not self._is_configured_adapter(original):
                self.work.leave(original, f'choose the layout: Predict(…, layout="{LAYOUTS[name]}")')
            return updated
        self.work.leave(original, BY_HAND.get(name, f"lmpipe has no {name}"))
        self.work.kept.add(name)
        return updated

    def _is_configured_adapter(self, node: cst.CSTNode) -> bool:
        """Whether an adapter is that of `configure`, which becomes a layout of each predictor."""
        arg = self.work.kinds.around(node, cst.Arg)
        call = arg and self.work.kinds.parent(arg)
        return isinstance(call, cst.Call) and self.work.kinds.name_of(call.func) in (
            "configure",
            "settings.configure",
        )

    def _attribute_of_value(
        self, original: cst.Attribute, updated: cst.Attribute
    ) -> cst.BaseExpression:
        kinds, name = self.work.kinds, original.attr.value
        kind = kinds.of(original.value)
        if name == "passages" and kind == "found":
            self.work.wrote(original, name)
            return parsed("[passage.text for passage in FOUND]", FOUND=updated.value)
        if name == "trajectory" and kind == "result":
            self.work.leave(
                original, "the trajectory is a value with steps: read them in place of keys"
            )
            return parsed("lmpipe.trajectory_of(RESULT)", RESULT=updated.value)
        if name in MUTATIONS and kind in ("predictor", "predictors"):
            self.work.leave(original, MUTATIONS[name])
        if name == "completions" and kind == "result":
            self.work.leave(original, BY_HAND["Completions"])
        return updated

    # Calls and what is done with results

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return rewrite_call(self.work, original_node, updated_node)

    def leave_Subscript(
        self, original_node: cst.Subscript, updated_node: cst.Subscript
    ) -> cst.BaseExpression:
        """`result["answer"]` is `result.answer`, and `lm(…)[0]` is `lm(…).text`."""
        value, key = original_node.value, _key(original_node)
        if isinstance(value, cst.Call) and self.work.kinds.of(value.func) == "lm":
            self.work.wrote(original_node, "LM")
            return cst.Attribute(updated_node.value, cst.Name("text"))
        name = text_of(key)
        if name is None or not name.isidentifier() or self.work.kinds.of(value) != "result":
            return updated_node
        self.work.wrote(original_node, "item of a result")
        return cst.Attribute(updated_node.value, cst.Name(name))

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        if original_node.star == "**" and self._is_result(original_node.value):
            return updated_node.with_changes(value=self._fields(updated_node.value))
        return updated_node

    def leave_StarredDictElement(
        self, original_node: cst.StarredDictElement, updated_node: cst.StarredDictElement
    ) -> cst.StarredDictElement:
        if self._is_result(original_node.value):
            return updated_node.with_changes(value=self._fields(updated_node.value))
        return updated_node

    def _is_result(self, node: cst.BaseExpression) -> bool:
        return self.work.kinds.of(node) == "result"

    def _fields(self, result: cst.BaseExpression) -> cst.BaseExpression:
        return parsed("RESULT.to_dict()", RESULT=result)

    # Definitions

    def leave_Assign(
        self, original_node: cst.Assign, updated_node: cst.Assign
    ) -> cst.Assign | cst.AnnAssign:
        """A field without a type is text."""
        around = self.work.kinds.around(original_node, cst.ClassDef, cst.FunctionDef)
        target = original_node.targets[0].target
        if (
            isinstance(around, cst.ClassDef)
            and self.work.kinds.is_signature(around)
            and isinstance(target, cst.Name)
            and isinstance(original_node.value, cst.Call)
            and self.work.kinds.name_of(original_node.value.func) in ("InputField", "OutputField")
        ):
            return cst.AnnAssign(target, cst.Annotation(cst.Name("str")), updated_node.value)
        return updated_node

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        work = self.work
        owner = work.kinds.around(original_node, cst.ClassDef, cst.FunctionDef)
        in_program = isinstance(owner, cst.ClassDef) and work.kinds.is_program(owner)
        if in_program and original_node.name.value == "aforward":
            assert isinstance(owner, cst.ClassDef)
            if _has_method(owner, "forward"):
                work.leave(original_node, "forward runs for acall too: delete aforward, or forward")
            else:
                work.wrote(original_node, "aforward")
                updated_node = updated_node.with_changes(name=cst.Name("forward"))
        if owner is None and work.is_metric(original_node):
            updated_node = self._metric(original_node, updated_node)
        return self._with_comments(original_node, updated_node)

    def _metric(self, original: cst.FunctionDef, updated: cst.FunctionDef) -> cst.FunctionDef:
        names = [param.name.value for param in original.params.params]
        used = _names_in(original.body)
        if len(names) == 5:
            if used & set(names[3:]):
                self.work.leave(
                    original,
                    "a metric takes (example, prediction, trace): return feedback on single "
                    "predictors as Score(value, feedback, predictor_feedback={path: text})",
                )
            else:
                self.work.wrote(original, "metric")
                kept = updated.params.params[:3]
                last = kept[2].with_changes(comma=updated.params.params[4].comma)
                params = updated.params.with_changes(params=[*kept[:2], last])
                updated = updated.with_changes(params=params)
        if len(names) >= 3 and names[2] in used:
            self.work.leave(
                original,
                "the trace is given in evaluations, too, so that one rule must do for both: a "
                "run becomes a demonstration if its score reaches the optimizer's threshold",
            )
        return updated

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.ClassDef:
        return self._with_comments(original_node, updated_node)

    # Statements

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        if len(original_node.body) == 1:
            statement = self._statement(original_node.body[0])
            if statement is not None:
                updated_node = updated_node.with_changes(body=[statement])
        if not updated_node.body:
            updated_node = updated_node.with_changes(body=[cst.Pass()])
            self._removed.append(updated_node)
        return self._with_comments(original_node, updated_node)

    def _statement(self, node: cst.BaseSmallStatement) -> cst.BaseSmallStatement | None:
        """Rewrite a statement that changes a program or a history into one that makes another."""
        if not isinstance(node, cst.Expr) or not isinstance(node.value, cst.Call):
            return None
        function, args = node.value.func, node.value.args
        if not isinstance(function, cst.Attribute) or len(args) != 1:
            return None
        owner, method = function.value, function.attr.value
        if method == "load" and self.work.kinds.of(owner) == "predictor":
            return self._load(node, owner, args[0].value)
        if (
            method == "append"
            and isinstance(owner, cst.Attribute)
            and owner.attr.value == "messages"
            and self.work.kinds.of(owner.value) == "history"
        ):
            return self._append(node, owner.value, args[0].value)
        return None

    def _load(
        self, node: cst.Expr, program: cst.BaseExpression, path: cst.BaseExpression
    ) -> cst.BaseSmallStatement | None:
        if not self._may_assign(program):
            self.work.leave(node, MUTATIONS["load_state"])
            return None
        self.work.imports.add("from pathlib import Path")
        self.work.wrote(node, "load")
        state = "lmpipe.ProgramState.from_bytes(Path(PATH).read_bytes())"
        bound = parsed(f"PROGRAM.bind({state})", PROGRAM=program, PATH=path)
        return cst.Assign([cst.AssignTarget(program)], bound)  # type: ignore[arg-type]

    def _append(
        self, node: cst.Expr, history: cst.BaseExpression, turn: cst.BaseExpression
    ) -> cst.BaseSmallStatement | None:
        if not self._may_assign(history):
            self.work.leave(node, "a History is frozen: history = history.add(turn)")
            return None
        self.work.wrote(node, "History")
        rewritten = turn.visit(Rewriter(self.work, self.kept))
        assert isinstance(rewritten, cst.BaseExpression)
        longer = parsed("HISTORY.add(TURN)", HISTORY=history, TURN=rewritten)
        return cst.Assign([cst.AssignTarget(history)], longer)  # type: ignore[arg-type]

    def _may_assign(self, target: cst.BaseExpression) -> bool:
        """Whether a statement in its place may give the name another value."""
        if isinstance(target, cst.Name):
            return self.work.kinds.assigned_in(target, target.value)
        return isinstance(target, cst.Attribute)

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        return self._with_comments(original_node, updated_node)

    def leave_While(self, original_node: cst.While, updated_node: cst.While) -> cst.While:
        return self._with_comments(original_node, updated_node)

    def leave_With(self, original_node: cst.With, updated_node: cst.With) -> cst.With:
        return self._with_comments(original_node, updated_node)

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        return self._with_comments(original_node, updated_node)

    def leave_Try(self, original_node: cst.Try, updated_node: cst.Try) -> cst.Try:
        return self._with_comments(original_node, updated_node)

    def _with_comments(self, original: Statement, updated: Statement) -> Statement:
        """Write what is left to do above a statement."""
        texts = self.work.comments.get(original, [])
        lines = [
            cst.EmptyLine(comment=cst.Comment(line))
            for text in texts
            for line in textwrap.wrap(
                f"# lmpipe: {text}", _WIDTH, subsequent_indent="# ", break_on_hyphens=False
            )
        ]
        if not lines:
            return updated
        return updated.with_changes(leading_lines=[*updated.leading_lines, *lines])

    # Imports

    def leave_Import(
        self, original_node: cst.Import, updated_node: cst.Import
    ) -> cst.Import | cst.RemovalSentinel:
        names, kept = list(original_node.names), []
        for alias in names:
            module = get_full_name_for_node(alias.name) or ""
            if module.split(".")[0] != "dspy" or self._stays(module):
                kept.append(alias)
        if len(kept) == len(names):
            return updated_node
        self.work.wrote(original_node, "import")
        if self._first_import(original_node):
            kept.append(cst.ImportAlias(cst.Name("lmpipe")))
        return self._import_of(kept, updated_node)

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.Import | cst.RemovalSentinel:
        module = get_full_name_for_node(original_node.module) if original_node.module else ""
        names = original_node.names
        if (module or "").split(".")[0] != "dspy" or original_node.relative:
            return updated_node
        if isinstance(names, cst.ImportStar):
            self.work.leave(original_node, "import the names of DSPy one by one, then migrate")
            return updated_node
        kept = [alias for alias in names if self._keeps(f"{module}.{_word(alias)}")]
        if len(kept) == len(names):
            return updated_node
        self.work.wrote(original_node, "import")
        if kept:
            if self._first_import(original_node):
                self.work.imports.add("import lmpipe")
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            return updated_node.with_changes(names=kept)
        if self._first_import(original_node):
            return cst.Import([cst.ImportAlias(cst.Name("lmpipe"))])
        return cst.RemoveFromParent()

    def _stays(self, module: str) -> bool:
        """Whether the import of a module stays: some of its names are left as they are."""
        return any(name == dspy_name(module) or module == "dspy" for name in self.kept)

    def _keeps(self, qualified: str) -> bool:
        name = dspy_name(qualified)
        return any(kept == name or kept.startswith(f"{name}.") for kept in self.kept)

    def _first_import(self, node: cst.CSTNode) -> bool:
        """Whether lmpipe is to be imported here: once in the file, or in a function that does."""
        inside = self.work.kinds.around(node, cst.FunctionDef) is not None
        if inside:
            return not self._has_import
        first, self._has_import = not self._has_import, True
        return first

    def _import_of(
        self, aliases: Sequence[cst.ImportAlias], updated: cst.Import
    ) -> cst.Import | cst.RemovalSentinel:
        if not aliases:
            return cst.RemoveFromParent()
        last = aliases[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        others = [alias.with_changes(comma=space) for alias in aliases[:-1]]
        return updated.with_changes(names=[*others, last])

    # Blocks: statements that are gone leave their comments to the next one

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        return updated_node.with_changes(body=self._without_removed(updated_node.body))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        body = self._without_removed(updated_node.body)
        present = {_code(statement) for statement in body}
        added = [line for line in sorted(self.work.imports) if line not in present]
        if not added:
            return updated_node.with_changes(body=body)
        place = next(
            (number for number, item in enumerate(body) if _imports_late(item)),
            len(body),
        )
        made = [cst.parse_statement(line) for line in added]
        return updated_node.with_changes(body=[*body[:place], *made, *body[place:]])

    def _without_removed(self, body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
        kept: list[cst.BaseStatement] = []
        lines: list[cst.EmptyLine] = []
        for statement in body:
            leading = list(getattr(statement, "leading_lines", ()))
            if any(statement is removed for removed in self._removed):
                lines += [line for line in leading if line.comment is not None]
                continue
            if lines:
                statement = statement.with_changes(leading_lines=[*lines, *leading])
                lines = []
            kept.append(statement)
        return kept or [cst.SimpleStatementLine([cst.Pass()])]


_CALLED_NAMES = {
    *("Prediction", "Evaluate", "Retrieve", "Embeddings", "Embedder", "asyncify", "syncify"),
    *("evaluate.answer_exact_match", "evaluate.SemanticF1"),
}


def _word(alias: cst.ImportAlias) -> str:
    return get_full_name_for_node(alias.name) or ""


def _key(node: cst.Subscript) -> cst.BaseExpression | None:
    part = node.slice[0].slice if len(node.slice) == 1 else None
    return part.value if isinstance(part, cst.Index) else None


def _code(statement: cst.BaseStatement) -> str:
    return cst.Module([statement]).code.strip()


def _imports_late(statement: cst.BaseStatement) -> bool:
    """Whether a statement is after the imports of the standard library at the top of a file."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return True
    first = statement.body[0]
    if isinstance(first, cst.ImportFrom):
        return first.module is None or _code(statement) > "from pathlib" and not _future(first)
    if isinstance(first, cst.Import):
        return _code(statement).endswith("lmpipe")
    return not (isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString))


def _future(node: cst.ImportFrom) -> bool:
    return isinstance(node.module, cst.Name) and node.module.value == "__future__"


def _has_method(node: cst.ClassDef, name: str) -> bool:
    return any(isinstance(item, cst.FunctionDef) and item.name.value == name for item in node.body.body)


def _names_in(node: cst.CSTNode) -> set[str]:
    found: set[str] = set()

    class _Finds(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            found.add(node.value)

    node.visit(_Finds())
    return found
