"""An agent with three tools: it searches, looks things up, and calculates.

    lmpipe compile programs/agent.py
    lmpipe eval programs/agent.py:native

Each question asks for the years between two events, neither of which it names: the agent has to
find four facts in the passages about the invented world (`programs/worlds`) and to subtract.
`recipe` writes tool calls as text, which any LM can; `native` uses the LM's own tool calls.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import lmpipe
from metrics.questions import proven_number
from programs.world_data import BY_TITLE, PASSAGES, VERSION, years_between

MAX_STEPS = 8

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class CountYears(lmpipe.Signature):
    """Find both years in the passages, and count the years between them."""

    question: str = lmpipe.Input()
    answer: int = lmpipe.Output(desc="the number of years", ge=0)


def search(query: str) -> list[str]:
    """Search the passages for names, and return the titles of the best five."""
    [found] = PASSAGES.search([query], k=5)
    return [passage.title for passage in found]


def lookup(title: str) -> str:
    """Return the passage with exactly this title."""
    if title not in BY_TITLE:
        raise LookupError(f"there is no passage {title!r}; the nearest are {search(title)}")
    return BY_TITLE[title].text


def calculator(expression: str) -> float:
    """Calculate with numbers, + - * / and parentheses, such as (3 + 4) * 2."""
    if len(expression) > 200:
        raise ValueError("the expression is too long: use 200 characters or fewer")
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, KeyError):
        raise ValueError(f"{expression!r}: use only numbers, + - * / and parentheses") from None


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.BinOp(left, kind, right):
            return _OPERATORS[type(kind)](_value(left), _value(right))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand)
    raise KeyError(type(node))


TOOLS = [lmpipe.Tool.of(tool, pure=VERSION) for tool in (search, lookup, calculator)]


def agent(protocol: Literal["text", "native"]) -> lmpipe.Module:
    """Make the agent."""
    return lmpipe.ReAct(CountYears, tools=TOOLS, max_steps=MAX_STEPS, protocol=protocol)


def _recipe(protocol: Literal["text", "native"]) -> lmpipe.Recipe:
    parts: dict[str, Any] = {part: years_between(part) for part in ("train", "val", "test")}
    return lmpipe.Recipe(
        program=agent(protocol),
        metric=proven_number,
        optimizer=lmpipe.RandomSearch(candidates=6, demos=3, bootstrapped=3),
        name=f"agent-{protocol}",
        **parts,
    )


native = _recipe("native")
recipe = _recipe("text")
