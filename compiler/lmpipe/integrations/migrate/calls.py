"""Rewrite calls of DSPy's names: predictors, LMs, fields, evaluations, media and results."""

from __future__ import annotations

import libcst as cst

from lmpipe.integrations.migrate.arguments import (
    keyword,
    named_args,
    parsed,
    renamed,
    rewritten_args,
    text_of,
    value_of,
    with_args,
)
from lmpipe.integrations.migrate.calls_of_values import rewrite_call_of_value
from lmpipe.integrations.migrate.compiles import rewrite_optimizer
from lmpipe.integrations.migrate.optimizers import OPTIMIZERS
from lmpipe.integrations.migrate.rules import (
    CALLED_AS,
    CALLS,
    DEFAULTS,
    LAYOUTS,
    MEDIA,
    PREDICTORS,
    RENAMED,
)
from lmpipe.integrations.migrate.work import Rewriting, Work


def rewrite_call(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """Rewrite a call of one of DSPy's names, or of a value that DSPy made."""
    name = work.kinds.name_of(original.func)
    if name in _SPECIAL:
        return _SPECIAL[name](work, original, updated)
    if name in OPTIMIZERS:
        return rewrite_optimizer(work, original, updated, name)
    if name in CALLS:
        return _by_rule(work, original, updated, name)
    if name in RENAMED:
        work.wrote(original, name)
        return _named(updated, RENAMED[name])
    if name.partition(".")[0] in MEDIA:
        return _medium(work, original, updated)
    return rewrite_call_of_value(work, original, updated)


def is_rewritten(name: str) -> bool:
    """Whether `rewrite_call` rewrites the calls of one of DSPy's names."""
    if name in _SPECIAL or name in OPTIMIZERS or name in CALLS or name in RENAMED:
        return True
    return name.partition(".")[0] in MEDIA


def _left(work: Work, original: cst.Call, updated: cst.Call, text: str) -> cst.Call:
    """Leave a call of DSPy's to do by hand; its arguments may be rewritten."""
    work.leave(original, text)
    work.keep(original.func)
    return updated.with_changes(func=original.func)


def _by_rule(work: Work, original: cst.Call, updated: cst.Call, name: str) -> cst.BaseExpression:
    args = rewritten_args(work, original, updated, CALLS[name], function=name)
    if name in PREDICTORS and args:
        args[0] = _signature_arg(args[0])
    if name in ("Predict", "ChainOfThought") and (layout := _layout(work, original)):
        args.append(keyword("layout", cst.SimpleString(f'"{layout}"')))
    if name in DEFAULTS:
        given, number = DEFAULTS[name]
        named = any(arg.keyword and arg.keyword.value == given for arg in args)
        if not named and not any(arg.star for arg in args):  # which may give it
            args.append(keyword(given, cst.Integer(number)))
    if name == "LM" and args:
        args[0] = args[0].with_changes(value=_model(args[0].value))
    work.wrote(original, name)
    return _named(with_args(updated, args), CALLED_AS.get(name, RENAMED.get(name, name)))


def _layout(work: Work, node: cst.CSTNode) -> str:
    """The layout that stands for the adapter that the file configures; empty for the default."""
    if work.layout in ("", "ChatAdapter"):
        return ""
    if work.layout not in LAYOUTS:
        work.leave(node, "choose the prompt layout: Predict(…, layout=…)")
        return ""
    return LAYOUTS[work.layout]


def _model(value: cst.BaseExpression) -> cst.BaseExpression:
    text = text_of(value)
    if text is None or not text.startswith("hosted_vllm/"):
        return value
    return cst.SimpleString(repr(text.replace("hosted_vllm/", "vllm/", 1)).replace("'", '"'))


def _signature_arg(arg: cst.Arg) -> cst.Arg:
    """Name lmpipe in place of DSPy in a string signature."""
    value = arg.value
    if isinstance(value, cst.SimpleString) and "dspy." in value.value:
        value = value.with_changes(value=value.value.replace("dspy.", "lmpipe."))
    return arg.with_changes(value=value)


def _named(call: cst.Call, name: str) -> cst.Call:
    function = cst.parse_expression(f"lmpipe.{name}")
    return call.with_changes(func=function)


def _signature(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    pairs = named_args(updated.args, ("signature", "instructions", "signature_name"))
    first = value_of(pairs, "signature")
    if not isinstance(first, cst.SimpleString | cst.ConcatenatedString | cst.Name):
        return _left(
            work, original, updated, "use lmpipe.signature_from_string, or declare a class"
        )
    names = {"instructions": "instruction", "signature_name": "name", "custom_types": "types"}
    args = [
        arg if place == 0 else renamed(arg, names.get(name, name))
        for place, (name, arg) in enumerate(pairs)
    ]
    args[0] = _signature_arg(args[0])
    work.wrote(original, "Signature")
    return _named(with_args(updated, args), "signature_from_string")


def _prediction(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """A result of a program, or the score of a metric."""
    pairs = named_args(updated.args, ())
    work.wrote(original, "Prediction")
    function = work.kinds.around(original, cst.FunctionDef)
    names = {name for name, _ in pairs}
    in_metric = isinstance(function, cst.FunctionDef) and work.is_metric(function)
    if in_metric and "score" in names and names <= {"score", "feedback"}:
        args = [renamed(arg, "value") if name == "score" else arg for name, arg in pairs]
        return _named(with_args(updated, args), "Score")
    return _named(updated, "Prediction")


def _configure(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    name = RENAMED[work.kinds.name_of(original.func)]
    args = rewritten_args(work, original, updated, CALLS["configure"], function=name)
    work.wrote(original, name)
    return _named(with_args(updated, args), name)


def _evaluate(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """`Evaluate(…)` becomes a partial call of `evaluate`, and `Evaluate(…)(program)` a call."""
    args = rewritten_args(work, original, updated, CALLS["Evaluate"], function="Evaluate")
    work.wrote(original, "Evaluate")
    parent = work.kinds.parent(original)
    if isinstance(parent, cst.Call) and parent.func is original:
        return _named(with_args(updated, args), "evaluate")  # the program is put in by the caller
    work.imports.add("from functools import partial")
    made = with_args(updated, args).args
    evaluate = cst.Arg(
        cst.parse_expression("lmpipe.evaluate"),
        comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")),
    )
    return updated.with_changes(func=cst.Name("partial"), args=[evaluate, *made])


def _retrieve(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    if work.retriever is None:
        return _left(work, original, updated, "pass what searches: lmpipe.Retrieve(search, k=…)")
    args = rewritten_args(work, original, updated, CALLS["Retrieve"], function="Retrieve")
    work.wrote(original, "Retrieve")
    # What DSPy is configured with returns items with a `long_text`.
    search = parsed(
        "lambda query, k: [item.long_text for item in SEARCH(query, k=k)]", SEARCH=work.retriever
    )
    return _named(with_args(updated, [cst.Arg(search), *args]), "Retrieve")


def _embeddings(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    pairs = named_args(updated.args, ("corpus", "embedder", "k"))
    corpus, embedder = value_of(pairs, "corpus"), value_of(pairs, "embedder")
    if corpus is None or embedder is None:
        return _left(
            work,
            original,
            updated,
            "write lmpipe.Retrieve(lmpipe.Embeddings.of(corpus, embedder=…), k=…)",
        )
    k = value_of(pairs, "k") or cst.Integer("5")
    work.wrote(original, "Embeddings")
    return parsed(
        "lmpipe.Retrieve(lmpipe.Embeddings.of(CORPUS, embedder=EMBEDDER), k=K)",
        CORPUS=corpus,
        EMBEDDER=embedder,
        K=k,
    )


def _embedder(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    pairs = named_args(original.args, ("model",))
    if text_of(value_of(pairs, "model")) is None:
        return _left(
            work,
            original,
            updated,
            "an embedder that is a function: search in a function (query, k) for lmpipe.Retrieve",
        )
    work.wrote(original, "Embedder")
    kept = [arg for arg in updated.args if not arg.keyword or arg.keyword.value == "model"]
    return _named(with_args(updated, kept), "LM")


def _medium(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """`Image(x)`, `Image(url=x)` and `Image.from_file(x)` become `Image.of(x)`."""
    kind = work.kinds.name_of(original.func).partition(".")[0]
    given = [arg for arg in updated.args if not arg.keyword or arg.keyword.value == "url"]
    if len(given) != 1 or len(updated.args) != 1 or given[0].star:
        return _left(work, original, updated, f"write lmpipe.{kind}.of(…): a path, bytes, or a URL")
    work.wrote(original, kind)
    first = given[0].with_changes(keyword=None, equal=cst.MaybeSentinel.DEFAULT)
    return _named(with_args(updated, [first]), f"{kind}.of")


def _history(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    pairs = named_args(updated.args, ("messages",))
    turns = value_of(pairs, "messages")
    work.wrote(original, "History")
    if turns is None or (isinstance(turns, cst.List) and not turns.elements):
        return _named(with_args(updated, []), "History")
    args = [keyword("turns", turns)]
    return _named(with_args(updated, args), "History")


def _answer_exact_match(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    pairs = named_args(updated.args, ("example", "pred", "trace", "frac"))
    example, prediction = value_of(pairs, "example"), value_of(pairs, "pred")
    if example is None or prediction is None or value_of(pairs, "frac") is not None:
        return _left(
            work, original, updated, 'use lmpipe.metrics.token_f1("answer") and compare its value'
        )
    work.wrote(original, "answer_exact_match")
    code = 'lmpipe.metrics.normalized_match("answer")(EXAMPLE, PREDICTION).value == 1'
    if not isinstance(work.kinds.parent(original), cst.Return | cst.Assign):
        code = f"({code})"
    return parsed(code, EXAMPLE=example, PREDICTION=prediction)


def _asyncify(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    work.wrote(original, "asyncify")
    return parsed("PROGRAM.acall", PROGRAM=updated.args[0].value)


def _syncify(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    work.wrote(original, "syncify")
    return updated.args[0].value


def _semantic_f1(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    work.leave(
        original,
        "lmpipe.metrics.SemanticF1 compares the field `answer` and gives the F1 itself; name "
        "other fields by SemanticF1(field, gold=…)",
    )
    pairs = named_args(updated.args, ("threshold", "decompositional"))
    decompose = value_of(pairs, "decompositional")
    args = [] if decompose is None else [keyword("decompose", decompose)]
    return _named(with_args(updated, args), "metrics.SemanticF1")


_SPECIAL: dict[str, Rewriting] = {
    "Signature": _signature,
    "Prediction": _prediction,
    "configure": _configure,
    "settings.configure": _configure,
    "context": _configure,
    "settings.context": _configure,
    "Evaluate": _evaluate,
    "Retrieve": _retrieve,
    "Embeddings": _embeddings,
    "Embedder": _embedder,
    "History": _history,
    **dict.fromkeys(MEDIA, _medium),
    "evaluate.answer_exact_match": _answer_exact_match,
    "evaluate.SemanticF1": _semantic_f1,
    "asyncify": _asyncify,
    "syncify": _syncify,
}
