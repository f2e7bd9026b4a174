"""Rewrite calls of values that DSPy made, and of their methods."""

from __future__ import annotations

import libcst as cst

from lmpipe.integrations.migrate.arguments import (
    named_args,
    parsed,
    rewritten_args,
    text_of,
    value_of,
    with_args,
)
from lmpipe.integrations.migrate.compiles import rewrite_compile
from lmpipe.integrations.migrate.rules import CALL_OPTIONS, CALLS
from lmpipe.integrations.migrate.work import Rewriting, Work


def _compile(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    assert isinstance(original.func, cst.Attribute)
    if work.kinds.of(original.func.value) != "optimizer":
        return updated
    return rewrite_compile(work, original, updated)


def _copy(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """A program does not change, so that it need not be copied."""
    assert isinstance(original.func, cst.Attribute)
    assert isinstance(updated.func, cst.Attribute)
    if work.kinds.of(original.func.value) != "predictor" or original.args:
        return updated
    work.wrote(original, original.func.attr.value)
    return updated.func.value


def _read_property(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """`example.inputs()` is an attribute in lmpipe."""
    if original.args:
        return updated
    work.wrote(original, "Example")
    return updated.func


def _to_dict(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    assert isinstance(original.func, cst.Attribute)
    assert isinstance(updated.func, cst.Attribute)
    kind = work.kinds.of(original.func.value)
    if kind not in ("result", "example"):
        work.leave(original, "a result has to_dict(), and an Example to_json()")
    name = "to_json" if kind == "example" else "to_dict"
    work.wrote(original, "toDict")
    return updated.with_changes(func=updated.func.with_changes(attr=cst.Name(name)))


def _as_mapping(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """`result.items()`, `keys()`, `values()` and `get("answer")` of a result."""
    assert isinstance(original.func, cst.Attribute)
    assert isinstance(updated.func, cst.Attribute)
    if work.kinds.of(original.func.value) != "result":
        return updated
    work.wrote(original, original.func.attr.value)
    owner = updated.func.value
    if original.func.attr.value == "get" and len(original.args) == 1:
        name = text_of(original.args[0].value)
        if name is not None and name.isidentifier():
            return cst.Attribute(owner, cst.Name(name))
    fields = parsed("RESULT.to_dict()", RESULT=owner)
    return updated.with_changes(func=updated.func.with_changes(value=fields))


def _with_instructions(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    assert isinstance(updated.func, cst.Attribute)
    work.wrote(original, "with_instructions")
    return updated.with_changes(func=updated.func.with_changes(attr=cst.Name("with_instruction")))


def _batch(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    assert isinstance(original.func, cst.Attribute)
    if work.kinds.of(original.func.value) != "predictor":
        return updated
    work.wrote(original, "batch")
    args = rewritten_args(work, original, updated, CALLS["batch"], function="batch")
    return with_args(updated, args)


def _save(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """`program.save("state.json")` writes its state."""
    assert isinstance(original.func, cst.Attribute)
    assert isinstance(updated.func, cst.Attribute)
    if work.kinds.of(original.func.value) != "predictor":
        return updated
    path = value_of(named_args(updated.args, ("path",)), "path")
    if path is None or len(updated.args) != 1:
        work.leave(original, "a run folder is the whole program: lmpipe.compile writes it")
        return updated
    work.imports.add("from pathlib import Path")
    work.wrote(original, "save")
    return parsed(
        "Path(PATH).write_bytes(PROGRAM.state().to_bytes())",
        PATH=path,
        PROGRAM=updated.func.value,
    )


_METHODS: dict[str, Rewriting] = {
    "compile": _compile,
    "deepcopy": _copy,
    "reset_copy": _copy,
    "inputs": _read_property,
    "labels": _read_property,
    "toDict": _to_dict,
    "items": _as_mapping,
    "keys": _as_mapping,
    "values": _as_mapping,
    "get": _as_mapping,
    "with_instructions": _with_instructions,
    "batch": _batch,
    "save": _save,
}


def rewrite_call_of_value(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """Rewrite a call of a method of a value, or of a predictor, an evaluator or a tool."""
    if isinstance(original.func, cst.Attribute):
        method = _METHODS.get(original.func.attr.value)
        if method is not None:
            return method(work, original, updated)
    kind = work.kinds.of(original.func)
    if kind == "tool":
        work.leave(original, "call the function of the tool, or lmpipe.run_tool_sync(tool, {…})")
    if kind == "predictor":
        return _call_of_predictor(work, original, updated)
    if kind == "evaluator":
        return _call_of_evaluator(work, original, updated)
    return updated


def _call_of_predictor(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    made = work.kinds.made_by(original.func)
    compares = made is not None and work.kinds.name_of(made.func) == "MultiChainComparison"
    kept = []
    for arg in updated.args:
        name = arg.keyword.value if arg.keyword else ""
        if compares and not arg.star and name in ("", "completions"):
            work.leave(original, "MultiChainComparison draws the chains that it compares itself")
        elif name in CALL_OPTIONS:
            work.leave(original, f"{name}= of the call is left out: {CALL_OPTIONS[name]}")
        else:
            kept.append(arg)
    return updated if len(kept) == len(updated.args) else with_args(updated, kept)


def _call_of_evaluator(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    args = [
        arg.with_changes(keyword=cst.Name("data"))
        if arg.keyword and arg.keyword.value == "devset"
        else arg
        for arg in updated.args
    ]
    if isinstance(original.func, cst.Call) and isinstance(updated.func, cst.Call):
        # Evaluate(devset=…, metric=…)(program): one call of `evaluate`
        space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        program = args[0].with_changes(comma=space)
        return updated.func.with_changes(args=[program, *updated.func.args, *args[1:]])
    return updated.with_changes(args=args)
