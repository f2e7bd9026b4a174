"""Arguments of calls: named by DSPy's names, renamed, dropped and added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import libcst as cst

from lmpipe.integrations.migrate.rules import CallRule

if TYPE_CHECKING:
    from lmpipe.integrations.migrate.work import Work

_EQUAL = cst.AssignEqual(
    whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace("")
)


def keyword(name: str, value: cst.BaseExpression) -> cst.Arg:
    """Make a keyword argument."""
    return cst.Arg(value, keyword=cst.Name(name), equal=_EQUAL)


def renamed(arg: cst.Arg, name: str) -> cst.Arg:
    """Give an argument a keyword; its spaces and comments stay."""
    return arg.with_changes(keyword=cst.Name(name), equal=_EQUAL)


def named_args(args: Sequence[cst.Arg], positions: Sequence[str]) -> list[tuple[str, cst.Arg]]:
    """Pair arguments with DSPy's names; the name of `*args` and `**kwargs` is their star.

    What is given by position after `*args` has no name: its place is not known.
    """
    pairs, known = [], True
    for place, arg in enumerate(args):
        known = known and arg.star != "*"
        name = arg.star or (arg.keyword.value if arg.keyword else "")
        pairs.append((name or "".join(positions[place : place + 1] if known else ()), arg))
    return pairs


def star_note(arg: cst.Arg, function: str, names: Mapping[str, str], others: Iterable[str]) -> str:
    """Say what to look for in `*args` or `**kwargs` that are passed on; empty if nothing differs.

    Args:
        arg: the argument.
        function: the name of what is called.
        names: lmpipe's names of arguments by DSPy's.
        others: DSPy's arguments that lmpipe does not have.
    """
    changed = [f"{old} is {new}" for old, new in names.items() if old != new]
    missing = sorted(others)
    if not changed and not missing:
        return ""
    given = f"{arg.star}{cst.Module(()).code_for_node(arg.value)} of {function}"
    if arg.star == "*":
        return f"{given} is passed on as it is: give the arguments by lmpipe's names"
    told = "; ".join(
        [
            *([f"in lmpipe {', '.join(changed)}"] if changed else []),
            *([f"it has no {', '.join(missing)}"] if missing else []),
        ]
    )
    return f"{given} is passed on as it is: {told}"


def value_of(args: Iterable[tuple[str, cst.Arg]], name: str) -> cst.BaseExpression | None:
    """Return the value of an argument, or None."""
    return next((arg.value for given, arg in args if given == name), None)


def rewritten_args(
    work: Work, original: cst.Call, updated: cst.Call, rule: CallRule, *, function: str
) -> list[cst.Arg]:
    """Rewrite the arguments of a call by a rule; notes what is left."""
    kept: list[cst.Arg] = []
    for place, (name, arg) in enumerate(named_args(updated.args, rule.positions)):
        if arg.star:
            kept.append(arg)
            missing = () if function == "Example" else (*rule.by_hand, *rule.dropped)
            if note := star_note(arg, function, rule.names, missing):
                work.leave(original, note)
        elif name in rule.by_hand:
            work.leave(original, f"{name}= of {function} is left out: {rule.by_hand[name]}")
        elif name in rule.names:
            stays = not arg.keyword and place < rule.kept
            kept.append(arg if stays else renamed(arg, rule.names[name]))
        elif name in rule.dropped:
            continue
        elif rule.others and arg.keyword:
            kept.append(arg)
        else:
            shown = f"{name}=" if name else f"argument {place + 1}"
            work.leave(original, f"{shown} of {function} is left out: lmpipe has no such argument")
    return kept


def with_args(call: cst.Call, args: Sequence[cst.Arg]) -> cst.Call:
    """Replace the arguments of a call in its layout: on one line, or one in each line."""
    if not args:
        space = cst.SimpleWhitespace("")
        return call.with_changes(args=[], whitespace_before_args=space)
    comma, last = _comma(call), call.args[-1] if call.args else None
    in_one_line = not isinstance(comma.whitespace_after, cst.ParenthesizedWhitespace)
    if in_one_line and any(_has_line_end(arg) for arg in args):
        # Some are moved here from a call with one argument in each line, with their comments.
        made = one_per_line(args)
        return call.with_changes(args=made.args, whitespace_before_args=made.whitespace_before_args)
    laid_out = []
    for arg in args[:-1]:
        has_comma = isinstance(arg.comma, cst.Comma) and arg is not last
        laid_out.append(arg if has_comma else arg.with_changes(comma=comma))
    end = args[-1]
    if last is not None and end is not last:
        end = end.with_changes(
            comma=_ends_with(end, last), whitespace_after_arg=last.whitespace_after_arg
        )
    return call.with_changes(args=[*laid_out, end])


def one_per_line(args: Sequence[cst.Arg]) -> cst.Call:
    """Make a call with one argument in each line; comments after arguments stay."""

    def line(indent: str, arg: cst.Arg | None = None) -> cst.ParenthesizedWhitespace:
        space, end = cst.SimpleWhitespace(indent), cst.TrailingWhitespace()
        if arg is not None and isinstance(arg.comma, cst.Comma) and _has_line_end(arg):
            after = arg.comma.whitespace_after
            assert isinstance(after, cst.ParenthesizedWhitespace)
            end = after.first_line
        return cst.ParenthesizedWhitespace(end, (), True, space)

    laid_out = [
        arg.with_changes(comma=cst.Comma(whitespace_after=line("    ", arg))) for arg in args[:-1]
    ]
    end = args[-1].with_changes(
        comma=cst.Comma(whitespace_after=line("", args[-1])),
        whitespace_after_arg=cst.SimpleWhitespace(""),
    )
    return cst.Call(cst.Name("f"), [*laid_out, end], whitespace_before_args=line("    "))


def _has_line_end(arg: cst.Arg) -> bool:
    comma = arg.comma
    return isinstance(comma, cst.Comma) and isinstance(
        comma.whitespace_after, cst.ParenthesizedWhitespace
    )


def _comma(call: cst.Call) -> cst.Comma:
    """Return the comma between the arguments of a call."""
    for arg in call.args[:-1]:
        if isinstance(arg.comma, cst.Comma):
            space = arg.comma.whitespace_after
            if isinstance(space, cst.ParenthesizedWhitespace):
                space = _without_comment(space)
            return arg.comma.with_changes(whitespace_after=space)
    if isinstance(call.whitespace_before_args, cst.ParenthesizedWhitespace):
        return cst.Comma(whitespace_after=_without_comment(call.whitespace_before_args))
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _without_comment(space: cst.ParenthesizedWhitespace) -> cst.ParenthesizedWhitespace:
    line = space.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
    return space.with_changes(first_line=line, empty_lines=[])


def _ends_with(end: cst.Arg, last: cst.Arg) -> cst.Comma | cst.MaybeSentinel:
    """The comma after the last argument; a comment after the one that it has stays."""
    if not isinstance(last.comma, cst.Comma):
        return cst.MaybeSentinel.DEFAULT
    own = end.comma.whitespace_after if isinstance(end.comma, cst.Comma) else None
    closing = last.comma.whitespace_after
    if (
        isinstance(own, cst.ParenthesizedWhitespace)
        and own.first_line.comment is not None
        and isinstance(closing, cst.ParenthesizedWhitespace)
    ):
        closing = closing.with_changes(first_line=own.first_line)
    return last.comma.with_changes(whitespace_after=closing)


def text_of(node: cst.BaseExpression | None) -> str | None:
    """Return the value of a string literal, or None."""
    if isinstance(node, cst.SimpleString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def parsed(code: str, **parts: cst.BaseExpression) -> cst.BaseExpression:
    """Parse an expression, and put expressions in the place of names in it."""
    tree = cst.parse_expression(code)
    changed = tree.visit(_Fills(parts))
    assert isinstance(changed, cst.BaseExpression)
    return changed


class _Fills(cst.CSTTransformer):
    def __init__(self, parts: Mapping[str, cst.BaseExpression]) -> None:
        self._parts = parts

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return self._parts.get(original_node.value, updated_node)
