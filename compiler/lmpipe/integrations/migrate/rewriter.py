"""`Rewriter`: rewrites the tree of a DSPy file, from the leaves up."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeVar, cast

import libcst as cst
from libcst.metadata import MetadataWrapper

from lmpipe.integrations.migrate.arguments import parsed, text_of
from lmpipe.integrations.migrate.calls import is_rewritten, rewrite_call
from lmpipe.integrations.migrate.import_rewriter import ImportRewriter
from lmpipe.integrations.migrate.imports import Statement, with_import
from lmpipe.integrations.migrate.rules import BY_HAND, LAYOUTS, MUTATIONS, RENAMED, hint
from lmpipe.integrations.migrate.work import Work

_WIDTH = 100
# What a quoted type may be a part of, and what does not have types inside.
_PARTS_OF_TYPES = (
    *(cst.Subscript, cst.SubscriptElement, cst.Index, cst.BinaryOperation, cst.Tuple, cst.List),
    *(cst.Element, cst.SimpleString),
)
_NO_TYPES_INSIDE = ("Literal", "Annotated")
_PLACES = (cst.Import, cst.ImportFrom, cst.ImportAlias, cst.Param, cst.FunctionDef, cst.ClassDef)

Commented = TypeVar(
    "Commented",
    cst.SimpleStatementLine,
    cst.FunctionDef,
    cst.ClassDef,
    cst.For,
    cst.While,
    cst.With,
    cst.If,
    cst.Try,
)


class Rewriter(ImportRewriter):
    """Rewrites what it knows, and notes the rest in its `Work`."""

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
        if called and is_rewritten(name):
            return updated  # renamed with the arguments of the call
        if name == "Prediction":
            self.work.wrote(original, name)
            noted = kinds.around(original, cst.Annotation) is not None
            return cst.parse_expression("lmpipe.Prediction" if noted else "lmpipe.Signature")
        if name == "evaluate.answer_exact_match":
            self.work.wrote(original, name)
            return cst.parse_expression('lmpipe.metrics.normalized_match("answer")')
        if name in RENAMED:
            self.work.wrote(original, name)
            return cst.parse_expression(f"lmpipe.{RENAMED[name]}")
        base = name.partition(".")[0]
        if base in RENAMED and not called and isinstance(updated, cst.Attribute):
            return updated.with_changes(value=cst.parse_expression(f"lmpipe.{RENAMED[base]}"))
        if name in LAYOUTS:
            if not self._is_configured_adapter(original):
                layout = LAYOUTS[name]
                self._leave_as_it_is(original, f'choose the layout: Predict(…, layout="{layout}")')
            return updated
        self._leave_as_it_is(original, hint(name))
        return updated

    def _leave_as_it_is(self, original: cst.Name | cst.Attribute, text: str) -> None:
        self.work.leave(original, text)
        self.work.keep(original)

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

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.BaseExpression:
        """A quoted annotation is rewritten like one that is not quoted."""
        text = text_of(original_node)
        if text is None or not self._is_annotation(original_node):
            return updated_node
        changed = self._rewritten_annotation(original_node, text)
        if changed == text:
            return updated_node
        self.work.wrote(original_node, "annotation")
        plain = not original_node.prefix and original_node.quote not in changed
        quote = original_node.quote if plain and "\\" not in changed else ""
        return cst.SimpleString(f"{quote}{changed}{quote}" if quote else repr(changed))

    def _is_annotation(self, node: cst.SimpleString) -> bool:
        """Whether a text is a type: all of an annotation, or a part of it that is no `Literal`."""
        around: cst.CSTNode | None = self.work.kinds.parent(node)
        while isinstance(around, _PARTS_OF_TYPES):
            if isinstance(around, cst.Subscript) and _last_name(around.value) in _NO_TYPES_INSIDE:
                return False
            around = self.work.kinds.parent(around)
        return isinstance(around, cst.Annotation)

    def _rewritten_annotation(self, node: cst.SimpleString, text: str) -> str:
        try:
            module = cst.parse_module(f"{self.work.dspy_imports}\n_: {text}\n")
        except cst.ParserSyntaxError:
            return text
        wrapper = MetadataWrapper(module)
        work = Work(wrapper)
        rewritten = wrapper.module.visit(Rewriter(work, self.kept))
        for note in work.left:
            self.work.leave(node, note.text)
        self.work.kept |= work.kept
        line = cst.ensure_type(rewritten.body[-1], cst.SimpleStatementLine)
        annotation = cst.ensure_type(line.body[0], cst.AnnAssign).annotation.annotation
        return rewritten.code_for_node(annotation)

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
            statement = self._statement(original_node.body[0], updated_node.body[:1])
            if statement is not None:
                updated_node = updated_node.with_changes(body=[statement])
        if not updated_node.body:
            updated_node = updated_node.with_changes(body=[cst.Pass()])
            self.remove(updated_node)
        return self._with_comments(original_node, updated_node)

    def _statement(
        self, node: cst.BaseSmallStatement, updated: Sequence[cst.BaseSmallStatement]
    ) -> cst.BaseSmallStatement | None:
        """Rewrite a statement that changes a program or a history into one that makes another."""
        if not isinstance(node, cst.Expr) or not isinstance(node.value, cst.Call):
            return None
        function, args = node.value.func, node.value.args
        if not isinstance(function, cst.Attribute) or len(args) != 1:
            return None
        owner, method = function.value, function.attr.value
        if method == "load" and self.work.kinds.of(owner) == "predictor":
            return self._load(node, owner, _argument(updated[0]))
        if (
            method == "append"
            and isinstance(owner, cst.Attribute)
            and owner.attr.value == "messages"
            and self.work.kinds.of(owner.value) == "history"
        ):
            return self._append(node, owner.value, _argument(updated[0]))
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
        longer = parsed("HISTORY.add(TURN)", HISTORY=history, TURN=turn)
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

    def _with_comments(self, original: Commented, updated: Commented) -> Commented:
        """Write what is left to do above a statement."""
        texts = self.work.comments.get(original, [])
        lines: list[cst.EmptyLine] = [
            cst.EmptyLine(comment=cst.Comment(line))
            for text in texts
            for line in textwrap.wrap(
                f"# lmpipe: {text}", _WIDTH, subsequent_indent="# ", break_on_hyphens=False
            )
        ]
        if not lines:
            return updated
        return updated.with_changes(leading_lines=[*updated.leading_lines, *lines])

    # Blocks: statements that are gone leave their comments to the next one

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = cast(Sequence[Statement], updated_node.body)
        return updated_node.with_changes(body=self.without_removed(body))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        body = self.without_removed(updated_node.body)
        for line in sorted(self.work.imports):
            body = with_import(body, line)
        return updated_node.with_changes(body=body)


def _argument(statement: cst.BaseSmallStatement) -> cst.BaseExpression:
    """The first argument of a statement that is a call."""
    call = cst.ensure_type(cst.ensure_type(statement, cst.Expr).value, cst.Call)
    return call.args[0].value


def _last_name(node: cst.BaseExpression) -> str:
    last = node.attr if isinstance(node, cst.Attribute) else node
    return last.value if isinstance(last, cst.Name) else ""


def _key(node: cst.Subscript) -> cst.BaseExpression | None:
    part = node.slice[0].slice if len(node.slice) == 1 else None
    return part.value if isinstance(part, cst.Index) else None


def _has_method(node: cst.ClassDef, name: str) -> bool:
    return any(
        isinstance(item, cst.FunctionDef) and item.name.value == name for item in node.body.body
    )


def _names_in(node: cst.CSTNode) -> set[str]:
    found: set[str] = set()

    class _Finds(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            found.add(node.value)

    node.visit(_Finds())
    return found
