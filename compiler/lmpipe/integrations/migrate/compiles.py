"""Rewrite optimizers, and their `compile` into a compile of a recipe."""

from __future__ import annotations

import libcst as cst

from lmpipe.integrations.migrate.arguments import (
    keyword,
    named_args,
    one_per_line,
    parsed,
    renamed,
    star_note,
    text_of,
    value_of,
    with_args,
)
from lmpipe.integrations.migrate.optimizers import DROPPED, OPTIMIZERS, RECIPE
from lmpipe.integrations.migrate.work import Work


def rewrite_optimizer(
    work: Work, original: cst.Call, updated: cst.Call, name: str
) -> cst.BaseExpression:
    """Rewrite the call that makes an optimizer: its settings stay, the rest is the recipe's."""
    if not can_compile(work, original):
        work.keep(original.func)
        return updated.with_changes(func=original.func)
    rule = OPTIMIZERS[name]
    pairs = named_args(updated.args, rule.positions)
    work.constructed[original] = tuple(pairs)
    compiles = work.compiles.get(original, [])
    if len(compiles) == 1:  # what `compile` says about the search is a setting of the optimizer
        given = named_args(compiles[0].args, rule.compiled)
        pairs += [(key, arg) for key, arg in given if key in rule.names]
    args: dict[str, cst.Arg] = {}
    for key, arg in pairs:
        if key in rule.names:
            value = _setting(work, original, key, arg.value)
            if value is not None:
                args[rule.names[key]] = renamed(arg.with_changes(value=value), rule.names[key])
        elif key == "**":
            args[key] = arg
            told = star_note(arg, name, rule.names, ())
            work.leave(
                original,
                f"{told or f'**options of {name}'}: the metric and the LMs are the recipe's",
            )
        elif key not in RECIPE and key not in DROPPED:
            work.leave(original, _left_out(name, key))
    work.wrote(original, name)
    function = cst.parse_expression(f"lmpipe.{rule.to}")
    return with_args(updated, list(args.values())).with_changes(func=function)


def _left_out(name: str, key: str) -> str:
    if key == "*":
        return f"*args of {name} is left out: give the settings by name"
    return f"{key or 'an argument'}= of {name} is left out: lmpipe has no such setting"


def _setting(
    work: Work, node: cst.CSTNode, key: str, value: cst.BaseExpression
) -> cst.BaseExpression | None:
    """Write the value of a setting as lmpipe takes it; None if it is left out."""
    if key == "auto" and isinstance(value, cst.Name):  # auto=None: the numbers are given
        return None
    if key == "k" and work.kinds.name_of(getattr(node, "func", node)) == "KNNFewShot":
        return parsed("(K,)", K=value)
    if key == "strategy":
        strategy = text_of(value)
        if strategy is None:
            work.leave(node, 'write the strategy as order="pwp"')
            return None
        return cst.SimpleString(f'"{strategy.replace(" ", "").replace("->", "")}"')
    return value


def can_compile(work: Work, made: cst.Call) -> bool:
    """Whether an optimizer and its compiles can be rewritten: its metric is known.

    If not, what is left to do is noted.
    """
    if _is_part(work, made):
        return True
    metric = _metric(work, made)
    if metric is None:
        name = work.kinds.name_of(made.func)
        work.leave(made, f"a recipe needs a metric, and none is given to {name}")
    return metric is not None


def _is_part(work: Work, made: cst.Call) -> bool:
    """Whether an optimizer is an argument of another one."""
    around = work.kinds.around(made, cst.Call)
    return isinstance(around, cst.Call) and work.kinds.name_of(around.func) in OPTIMIZERS


def _metric(work: Work, made: cst.Call) -> cst.BaseExpression | None:
    """The metric that an optimizer is given, or else the only one of the file."""
    rule = OPTIMIZERS[work.kinds.name_of(made.func)]
    given = value_of(named_args(made.args, rule.positions), "metric")
    if given is None and len(work.metrics) == 1:
        (given,) = work.metrics.values()
    return given


def rewrite_compile(work: Work, original: cst.Call, updated: cst.Call) -> cst.BaseExpression:
    """Rewrite `optimizer.compile(program, trainset=…)` into a compile of a recipe."""
    assert isinstance(original.func, cst.Attribute)
    assert isinstance(updated.func, cst.Attribute)
    made = work.kinds.made_by(original.func.value)
    if made is None or not can_compile(work, made):
        return updated
    rule = OPTIMIZERS[work.kinds.name_of(made.func)]
    given = named_args(updated.args, rule.compiled)
    args = []
    for key, arg in given:
        if key == "valset" and _same(arg.value, value_of(given, "trainset")):
            work.leave(
                original, "train and val share no rows: without val=, a third of train is split off"
            )
        elif key in RECIPE:
            args.append(renamed(arg, RECIPE[key]))
        elif key == "**":
            args.append(arg)
            work.leave(original, star_note(arg, "compile", RECIPE, ()))
        elif key in rule.names and len(work.compiles.get(made, [])) == 1:
            continue
        elif key not in DROPPED:
            work.leave(original, f"{key}= of compile is left out: lmpipe has no such argument")
    named = {arg.keyword.value for arg in args if arg.keyword}
    for name, value in _from_constructor(work, original, made).items():
        if name not in named:
            args.append(keyword(name, value))
    args.append(keyword("optimizer", updated.func.value))
    work.wrote(original, "compile")
    laid_out = one_per_line(args) if _is_on_one_line(updated) else with_args(updated, args)
    recipe = laid_out.with_changes(func=cst.parse_expression("lmpipe.Recipe"))
    return parsed("lmpipe.compile(RECIPE).program", RECIPE=recipe)


def _same(one: cst.BaseExpression, other: cst.BaseExpression | None) -> bool:
    return other is not None and one.deep_equals(other)


def _is_on_one_line(call: cst.Call) -> bool:
    return isinstance(call.whitespace_before_args, cst.SimpleWhitespace)


def _from_constructor(
    work: Work, node: cst.CSTNode, made: cst.Call
) -> dict[str, cst.BaseExpression]:
    """What the constructor of an optimizer says about the recipe."""
    found: dict[str, cst.BaseExpression] = {}
    for key, arg in work.constructed.get(made, ()):
        value: cst.BaseExpression | None = arg.value
        if key not in RECIPE:
            continue
        if key == "teacher_settings":
            value = _lm_of(arg.value)
            if value is None:
                work.leave(node, "give the teacher's LM as teacher=…")
        if value is not None:
            found[RECIPE[key]] = value
    if "metric" not in found and (metric := _metric(work, made)) is not None:
        found["metric"] = metric
    return found


def _lm_of(settings: cst.BaseExpression) -> cst.BaseExpression | None:
    """Read the LM of `dict(lm=teacher)` or `{"lm": teacher}`."""
    match settings:
        case cst.Call(func=cst.Name(value="dict"), args=args):
            return value_of(named_args(args, ()), "lm")
        case cst.Dict(elements=elements):
            for element in elements:
                if isinstance(element, cst.DictElement) and text_of(element.key) == "lm":
                    return element.value
    return None
